/** The frame of every page: navigation on the left, the page beside it. */

import { Component, lazy, Suspense, type ComponentType, type LazyExoticComponent, type ReactNode } from "react";
import { useTexts } from "../texts";
import { Layout } from "./Layout";
import { useRoute, type PageName } from "./router";

/** Each page is a bundle of its own, loaded when it is first shown. To add one, name it here and in `PAGES`. */
const PAGE: Record<PageName, LazyExoticComponent<ComponentType<PageProps>>> = {
  chat: lazy(() => import("../pages/chat/ChatPage")),
  workflows: lazy(() => import("../pages/workflows/WorkflowsPage")),
  trace: lazy(() => import("../pages/trace/TracePage")),
  operations: lazy(() => import("../pages/operations/OperationsPage")),
};

/** What a page is given: the segments of the address behind its name. */
export type PageProps = { segments: string[] };

export function App() {
  const { page, segments } = useRoute();
  const Page = PAGE[page];
  return (
    <Layout page={page}>
      <Boundary key={page}>
        <Suspense fallback={<Waiting />}>
          <Page segments={segments} />
        </Suspense>
      </Boundary>
    </Layout>
  );
}

function Waiting() {
  const t = useTexts();
  return <p className="page-note quiet" role="status">{t.loading}</p>;
}

/** A page that breaks, or whose bundle cannot be loaded, does not take the others with it. */
class Boundary extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    return this.state.failed ? <Broken /> : this.props.children;
  }
}

function Broken() {
  const t = useTexts();
  return (
    <div className="page-note" role="alert">
      <p>{t.pageFailed}</p>
      <button type="button" className="plain" onClick={() => window.location.reload()}>{t.reload}</button>
    </div>
  );
}
