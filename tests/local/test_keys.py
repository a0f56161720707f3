"""Certificates say who somebody is, and one authority vouches for all of a cluster."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from localcluster import kubeconfig
from localcluster.pki import Authority, Identity


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def test_user_and_groups_are_where_kubernetes_reads_them(authority: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(authority.sign(Identity("alice", ("vision", "ops")))[0])

    assert certificate.subject.rfc4514_string().split(",") == ["CN=alice", "O=ops", "O=vision"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pair.certificate.read_bytes()))


def test_only_a_name_with_hosts_may_serve(authority: Authority) -> None:
    def usages(identity: Identity) -> int:
        certificate = x509.load_pem_x509_certificate(authority.sign(identity)[0])
        return len(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)

    assert usages(Identity("client")) == 1
    assert usages(Identity("server", hosts=("127.0.0.1", "localhost"))) == 2


def test_keys_are_issued_once_and_readable_by_their_owner_only(authority: Authority) -> None:
    first = authority.issue("etcd", Identity("etcd"))
    content = first.certificate.read_bytes()
    second = Authority(authority.folder).issue("etcd", Identity("etcd"))

    assert second.certificate.read_bytes() == content
    assert first.key.stat().st_mode & 0o777 == 0o600
    assert authority.pair.key.stat().st_mode & 0o777 == 0o600


def test_a_kubeconfig_is_kept_until_the_server_changes(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"

    def certificate(server: str) -> bytes:
        kubeconfig.write_for_user(path, server, authority, Identity("alice"))
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert content["clusters"][0]["cluster"]["server"] == server
        return base64.b64decode(content["users"][0]["user"]["client-certificate-data"])

    first = certificate("https://127.0.0.1:6443")

    assert certificate("https://127.0.0.1:6443") == first
    assert certificate("https://127.0.0.1:7443") != first
    assert path.stat().st_mode & 0o777 == 0o600
