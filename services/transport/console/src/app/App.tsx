/** The frame of every page: navigation on the left, the page beside it. */

import { Component, lazy, Suspense, type ComponentType, type LazyExoticComponent, type ReactNode } from "react";
import { useTexts } from "../texts";
import { Layout } from "./Layout";
import { PAGES, useRoute, type PageName } from "./router";

type Bundle = () => Promise<{ default: ComponentType<PageProps> }>;

/** Each page is a bundle of its own, loaded when it is first shown. To add one, name it here and in `PAGES`. */
const BUNDLES: Record<PageName, Bundle> = {
  chat: () => import("../pages/chat/ChatPage"),
  workflows: () => import("../pages/workflows/WorkflowsPage"),
  trace: () => import("../pages/trace/TracePage"),
  operations: () => import("../pages/operations/OperationsPage"),
};

const PAGE = Object.fromEntries(PAGES.map((name) => [name, lazy(BUNDLES[name])])) as Record<PageName, LazyExoticComponent<ComponentType<PageProps>>>;

/** Begins to load a page before it can be shown. */
export function preload(name: PageName): void {
  void BUNDLES[name]().catch(() => undefined); // said where it is shown
}

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
