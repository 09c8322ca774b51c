import type { PageProps } from "../../app/App";
import { PageHead } from "../../app/Layout";
import { useTexts } from "../../texts";

export default function OperationsPage(_: PageProps) {
  const t = useTexts();
  return <PageHead title={t.pages.operations} />;
}
