# Sourced by the other scripts: finds Python, and keeps .venv in step with the requirements files.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Prints the first Python that is new enough.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "codexproxy needs Python 3.11 or newer; none was found (set PYTHON to one that is not on the PATH)." >&2
    return 1
}

# Prints a digest of these files and of the interpreter; nothing when .venv cannot run.
digest_of() {
    .venv/bin/python - "$@" 2>/dev/null <<'PYTHON' || true
import hashlib, pathlib, sys
if sys.version_info < (3, 11):
    sys.exit(1)
content = b"".join(pathlib.Path(name).read_bytes() for name in sys.argv[1:])
print(hashlib.sha256(sys.version.encode() + content).hexdigest())
PYTHON
}

is_installed() { # stamp, files…
    local stamp=".venv/.installed-$1" digest
    shift
    [ -f "$stamp" ] || return 1
    digest="$(digest_of "$@")"
    [ -n "$digest" ] && [ "$digest" = "$(cat "$stamp")" ]
}

make_venv() {
    local python
    python="$(find_python)"
    echo "Setting up .venv with $("$python" --version) ..." >&2
    if ! "$python" -m venv --clear .venv >&2; then
        echo "The venv could not be made. On Debian and Ubuntu: apt-get install python3-venv" >&2
        return 1
    fi
}

# install NAME FILES…: what the last of the files asks for, unless that is what .venv holds already.
install_requirements() {
    local name="$1" last="${*: -1}"
    shift
    if is_installed "$name" "$@"; then
        return
    fi
    if [ -z "$(digest_of "$last")" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        make_venv
    fi
    echo "Installing $last ..." >&2
    # Most of what tests and checks need is never imported: what is, Python compiles then.
    local compile=--compile
    [ "$name" = runtime ] || compile=--no-compile
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$compile" -r "$last" >&2
    digest_of "$@" >".venv/.installed-$name"
}

install_runtime() {
    install_requirements runtime requirements.txt
}

install_development() {
    install_requirements development requirements.txt requirements-dev.txt
    # It includes the runtime's.
    digest_of requirements.txt >.venv/.installed-runtime
}
