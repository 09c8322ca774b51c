from mozaiksai.core.workflow.context.adapter import create_context_container
from logs.logging_config import get_workflow_logger


async def save_docs(title: str, pages: list[str], context_variables=None) -> str:
    get_workflow_logger("DesignDocs").info(f"saving {title}")
    context_variables.set("docs", {"title": title, "pages": pages})
    return f"{len(pages)} pages"
