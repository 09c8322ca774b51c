import type { PageProps } from "../../app/App";
import { PageHead } from "../../app/Layout";
import { useTexts } from "../../texts";

export default function ChatPage(_: PageProps) {
  const t = useTexts();
  return <PageHead title={t.pages.chat} />;
}
