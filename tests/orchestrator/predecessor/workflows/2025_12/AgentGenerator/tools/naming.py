"""Names of files."""


def file_name(title: str) -> str:
    return title.lower().replace(" ", "_") + ".zip"
