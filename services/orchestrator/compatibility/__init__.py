"""What tool files of the predecessor import from its packages and from AG2 before version 1.

Tools of an imported workflow import these modules by name; for a workflow that is read leniently, imports
of the predecessor's modules are redirected here when its files are loaded (see `modules`). What is not
offered is a placeholder that raises UnavailableError when it is used.
"""
