"""A real nginx with TLS of a test authority's, in front of a server."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, missing
from tests.e2e.server import free_port, until

SINGLE = ROOT / "docs/deployment/nginx.conf"
REPLICAS = ROOT / "docs/deployment/nginx-replicas.conf"

WHOLE = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    base_url: str
    authority: Path


@contextmanager
def tls_in_front_of(port: int, folder: Path) -> Iterator[Nginx]:
    """The configuration that docs/deployment.md gives, with this run's ports and certificates."""
    program = _program()
    folder.mkdir()
    _certificates(folder)
    own_port = free_port()
    site = _shipped(
        SINGLE,
        (r"listen 443 ssl", f"listen 127.0.0.1:{own_port} ssl"),
        (r"server_name \S+;", "server_name localhost;"),
        (r"/etc/ssl/\S+\.pem", f"{folder}/leaf.pem"),
        (r"/etc/ssl/\S+\.key", f"{folder}/leaf.key"),
        (r"http://127\.0\.0\.1:2455", f"http://127.0.0.1:{port}"),
    )
    with _running(program, folder, site):
        yield Nginx(f"https://localhost:{own_port}", folder / "ca.pem")


@dataclass(frozen=True, slots=True)
class Site:
    """One server of an nginx, at either address."""

    plain: str
    tls: str


@contextmanager
def sites_in_front_of(port: int, sites: list[str], folder: Path) -> Iterator[list[Site]]:
    """One server for each set of directives, in that order. The authority is `ca.pem` in the folder."""
    program = _program()
    folder.mkdir()
    _certificates(folder)
    ports = [(free_port(), free_port()) for _ in sites]
    servers = (
        f"server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl; {site} "
        f"location / {{ proxy_pass http://127.0.0.1:{port}; }} }}"
        for (plain, tls), site in zip(ports, sites, strict=True)
    )
    certificate = f"ssl_certificate {folder}/leaf.pem; ssl_certificate_key {folder}/leaf.key;"
    with _running(program, folder, "\n".join([certificate, *servers])):
        yield [Site(f"http://127.0.0.1:{plain}", f"https://localhost:{tls}") for plain, tls in ports]


@contextmanager
def balanced(ports: list[int], folder: Path) -> Iterator[int]:
    """compose.yaml's nginx before several servers; its port here. One that is gone is passed over."""
    program = _program()
    folder.mkdir()
    own = free_port()
    # Docker's name server gives nginx the replicas' addresses; without it they are named.
    servers = " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=5s;" for port in ports)
    site = _shipped(
        REPLICAS,
        (r"listen 80;", f"listen 127.0.0.1:{own};"),
        (r"resolver \S+ valid=5s;", ""),
        (r"set \$replicas replica;", ""),
        (r"http://\$replicas:2455", "http://replicas"),
    )
    with _running(program, folder, f"upstream replicas {{ {servers} }}\n{site}"):
        yield own


def _shipped(file: Path, *replacements: tuple[str, str]) -> str:
    """A configuration as docs/deployment has it, but for what this machine has otherwise."""
    site = file.read_text()
    for pattern, value in replacements:
        site, count = re.subn(pattern, value, site)
        assert count, pattern
    return site


def _program() -> str:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists() or not shutil.which("openssl"):
        missing("nginx or openssl (Debian: apt-get install nginx-light openssl)")
    return program


@contextmanager
def _running(program: str, folder: Path, site: str) -> Iterator[None]:
    (folder / "nginx.conf").write_text(WHOLE.format(folder=folder, site=site))
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE
    )
    try:
        until(lambda: (folder / "nginx.pid").exists() or process.poll() is not None, 10, "nginx is up")
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield
    finally:
        process.terminate()
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


def _certificates(folder: Path) -> None:
    """An authority, and a leaf of its own for localhost."""
    (folder / "leaf.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    key = ["-newkey", "rsa:2048", "-nodes"]
    _openssl(
        folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test authority"
    )
    _openssl(folder, "req", *key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=localhost")
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "leaf.ext"]
    _openssl(folder, "x509", "-req", "-in", "leaf.csr", *signing, "-out", "leaf.pem", "-days", "2")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)
