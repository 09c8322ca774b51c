#!/bin/sh
# Makes .venv with the first Python that fits and installs exactly requirements/dev.txt.
set -eu

fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'

python=''
for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
  if command -v "$name" >/dev/null 2>&1 && "$name" -c "$fits" 2>/dev/null; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup: no Python 3.11, 3.12 or 3.13 on the PATH; install one, or name it: make setup PYTHON=/path/to/python" >&2
  exit 1
fi

pins='install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt'

# A venv of another Python is of no use to us; one of the same is brought up to date in place.
if [ -x .venv/bin/python ] && ! .venv/bin/python -c "$fits" 2>/dev/null; then
  rm -rf .venv
fi

echo "setup: $("$python" --version) -> .venv"
if "$python" -c 'import ensurepip' 2>/dev/null; then
  [ -x .venv/bin/pip ] || "$python" -m venv --clear .venv
  .venv/bin/python -m pip $pins
elif "$python" -m pip --version >/dev/null 2>&1; then
  [ -x .venv/bin/python ] || "$python" -m venv --without-pip --clear .venv
  "$python" -m pip --python .venv/bin/python $pins
else
  echo "setup: $python can make no virtual environment; on Debian: apt-get install python3-venv" >&2
  exit 1
fi

# The command for authors of workflows and for operators, from whatever folder it is called.
cat > .venv/bin/mozaiks <<COMMAND
#!/bin/sh
PYTHONPATH="$PWD\${PYTHONPATH:+:\$PYTHONPATH}" exec "$PWD/.venv/bin/python" -m services.orchestrator.cli "\$@"
COMMAND
chmod +x .venv/bin/mozaiks
