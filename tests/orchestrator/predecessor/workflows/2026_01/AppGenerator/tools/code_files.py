from core.core_config import get_mongo_client


def write_file(path: str, content: str, context_variables=None) -> str:
    context_variables.set("files", [*context_variables.get("files", []), path])
    return f"{path}: {len(content)} characters"


def archive_files():
    return get_mongo_client()["mozaiks"]["files"]
