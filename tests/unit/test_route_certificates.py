"""Certificates in a folder: which are used, and in which words the others are refused."""

import base64
import os
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from mcpd.routing import certificates, shelf
from mcpd.routing.certificates import read
from mcpd.routing.shelf import CertificateFolder
from tests.support.waiting import DEADLINE_S, until

NOW = datetime(2026, 12, 1, tzinfo=UTC)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issued:
    """A certificate and its key, issued by ``issuer`` or by itself."""

    def __init__(
        self,
        common_name: str,
        issuer: "Issued | None" = None,
        *,
        hosts: tuple[str, ...] = (),
        organization: str = "",
        begins: datetime = NOW - timedelta(days=10),
        ends: datetime = NOW + timedelta(days=80),
        key: Key | None = None,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
        self.name = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        by = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(by.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(each) for each in hosts])
            builder = builder.add_extension(names, critical=False)
        self.certificate = builder.sign(by.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: bytes = b"", form: str = "PKCS8") -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self.key.private_bytes(
            serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption
        )


ROOT = Issued("Root X1", organization="Internet Security Research Group")
R3 = Issued("R3", ROOT, organization="Let's Encrypt")
LEAF = Issued("shop.test", R3, hosts=("Shop.test", "*.shop.test"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "certificates"
    made.mkdir()
    return made


@pytest.fixture
def combined(tmp_path: Path) -> Path:
    made = tmp_path / "combined"
    made.mkdir(0o700)
    return made


def put(path: Path, *parts: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(b"".join(parts))
    path.chmod(mode)
    return path


def problem(folder: Path, combined: Path, now: datetime = NOW) -> str:
    """The only one; and nothing of a key is in it."""
    found = read(folder, combined, now)
    assert not found.certificates
    (words,) = found.problems
    assert "PRIVATE KEY" not in words
    return words


def test_a_file_with_chain_and_key_is_used(folder: Path, combined: Path) -> None:
    path = put(folder / "web.pem", LEAF.pem, R3.pem, LEAF.key_pem())
    (found,), problems = read(folder, combined, NOW)
    assert not problems
    assert (found.path, found.names) == (path, ("*.shop.test", "shop.test"))
    assert found.until == LEAF.certificate.not_valid_after_utc
    assert found.fingerprint == LEAF.certificate.fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_common_kinds_of_keys_are_known_and_may_come_first(folder: Path, combined: Path, form: str, kind: str) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
    leaf = Issued("a", R3, hosts=("a.test",), key=key)
    put(folder / "web.pem", leaf.key_pem(form=form), b"a comment\n", leaf.pem, R3.pem, ROOT.pem)
    assert read(folder, combined, NOW).problems == ()


def test_a_folder_of_certbot_becomes_one_file_that_only_we_read(folder: Path, combined: Path) -> None:
    chain = put(folder / "shop.test/fullchain.pem", LEAF.pem, R3.pem, mode=0o644)
    key = put(folder / "shop.test/privkey.pem", LEAF.key_pem())
    (folder / "README").write_text("certbot's")
    (found,), problems = read(folder, combined, NOW)
    assert not problems
    assert found.path == combined / "shop.test.pem"
    assert found.path.stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(found.path)
    before = found.path.stat()
    read(folder, combined, NOW)
    assert found.path.stat().st_ino == before.st_ino
    renewed = Issued("shop.test", R3, hosts=("shop.test",))
    put(chain, renewed.pem, R3.pem)
    put(key, renewed.key_pem())
    (again,), _ = read(folder, combined, NOW)
    assert again.fingerprint != found.fingerprint
    assert renewed.key_pem() in again.path.read_bytes()


def test_a_leaf_without_its_chain_is_refused_and_says_what_to_do(folder: Path, combined: Path) -> None:
    put(folder / "web.pem", LEAF.pem, LEAF.key_pem())
    assert problem(folder, combined) == (
        f"{folder}/web.pem has a certificate of Let's Encrypt R3, and not that one's own: put the full chain into it "
        "(fullchain.pem)"
    )


def test_a_leaf_that_needs_no_chain_is_used(
    folder: Path, combined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Issued("own.test", hosts=("own.test",))
    put(folder / "own.pem", own.pem, own.key_pem())
    direct = Issued("direct.test", ROOT, hosts=("direct.test",))
    put(folder / "direct.pem", direct.pem, direct.key_pem())
    assert [each.names for each in read(folder, combined, NOW).certificates] == [("own.test",)]
    trusted = put(tmp_path / "trusted.pem", Issued("Root X1").pem, ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    certificates._roots.cache_clear()
    try:
        assert read(folder, combined, NOW).problems == ()
    finally:
        certificates._roots.cache_clear()


def test_a_chain_in_the_wrong_order_is_refused(folder: Path, combined: Path) -> None:
    put(folder / "web.pem", LEAF.pem, ROOT.pem, R3.pem, LEAF.key_pem())
    assert "and not that of its issuer, Let's Encrypt R3" in problem(folder, combined)


def test_a_chain_that_has_the_right_names_and_other_keys_is_refused(folder: Path, combined: Path) -> None:
    put(folder / "web.pem", LEAF.pem, Issued("R3", ROOT, organization="Let's Encrypt").pem, LEAF.key_pem())
    assert "and not that of its issuer" in problem(folder, combined)


def test_a_key_of_another_certificate_is_refused(folder: Path, combined: Path) -> None:
    put(folder / "web.pem", LEAF.pem, R3.pem, R3.key_pem())
    assert problem(folder, combined).endswith("its key is not that of its first certificate")


def test_a_time_that_is_over_or_has_not_begun_is_refused(folder: Path, combined: Path) -> None:
    put(folder / "web.pem", LEAF.pem, R3.pem, LEAF.key_pem())
    assert problem(folder, combined, NOW + timedelta(days=80)).endswith("it has expired on 2027-02-19")
    assert problem(folder, combined, NOW - timedelta(days=11)).endswith("it is valid from 2026-11-21 on")


def test_an_issuer_whose_time_is_over_is_refused(folder: Path, combined: Path) -> None:
    short = Issued("R2", ROOT, ends=NOW)
    leaf = Issued("a", short, hosts=("a.test",))
    put(folder / "web.pem", leaf.pem, short.pem, leaf.key_pem())
    assert "its issuer R2 has expired on 2026-12-01" in problem(folder, combined)


@pytest.mark.parametrize("name", ["web.pem", "shop.test/privkey.pem"])
def test_a_key_that_everybody_may_read_is_refused(folder: Path, combined: Path, name: str) -> None:
    put(folder / "shop.test/fullchain.pem", LEAF.pem, R3.pem) if "/" in name else None
    path = put(folder / name, LEAF.pem, R3.pem, LEAF.key_pem(), mode=0o644)
    words = problem(folder, combined)
    assert f"everybody may read or change the key in it; `chmod o= {path}`" in words
    path.chmod(0o640)
    assert read(folder, combined, NOW).problems == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it has no certificate in PEM"),
        (LEAF.key_pem(), "it has no certificate in PEM"),
        (LEAF.pem + R3.pem, "it has no private key in PEM"),
        (LEAF.pem + R3.pem + LEAF.key_pem(b"secret"), "its key has a passphrase"),
        (LEAF.pem + R3.pem + LEAF.key_pem().replace(b"M", b"N", 1), "its key is damaged"),
        (LEAF.pem.replace(b"MII", b"NII") + LEAF.key_pem(), "one of its certificates is damaged"),
        (b"x" * (2 << 20), "has more than 1 MiB"),
        (bytes(range(256)), "it has no certificate in PEM"),
    ],
    # Keys are others in each process, and the names of tests must not be.
    ids=["empty", "only-key", "no-key", "passphrase", "key", "certificate", "huge", "binary"],
)
def test_damage_is_told_and_hides_nothing_else(folder: Path, combined: Path, content: bytes, words: str) -> None:
    put(folder / "bad.pem", content)
    assert words in problem(folder, combined)
    put(folder / "good.pem", LEAF.pem, R3.pem, LEAF.key_pem())
    found = read(folder, combined, NOW)
    assert [each.path.name for each in found.certificates] == ["good.pem"]
    assert len(found.problems) == 1


def test_a_certificate_for_no_host_is_refused(folder: Path, combined: Path) -> None:
    own = Issued("shop.test")
    put(folder / "web.pem", own.pem, own.key_pem())
    assert "it is for no host" in problem(folder, combined)


def test_what_is_no_file_or_only_half_there_is_told(folder: Path, combined: Path) -> None:
    os.mkfifo(folder / "pipe.pem")
    (folder / "gone.pem").symlink_to("nowhere.pem")
    put(folder / "half/fullchain.pem", LEAF.pem, R3.pem)
    (folder / "empty").mkdir()
    put(folder / ".hidden.pem", b"")
    problems = read(folder, combined, NOW).problems
    assert [each.removeprefix(f"{folder}/") for each in problems] == [
        "gone.pem is not used: gone.pem cannot be read: No such file or directory",
        "half is not used: privkey.pem cannot be read: No such file or directory",
        "pipe.pem is not used: pipe.pem is not a file",
    ]


def test_a_folder_that_cannot_be_read_is_a_problem(folder: Path, combined: Path) -> None:
    put(folder / "a/fullchain.pem", LEAF.pem, R3.pem)
    put(folder / "a/privkey.pem", LEAF.key_pem())
    missing = folder / "none"
    assert read(missing, combined, NOW).problems == (f"{missing} cannot be read: No such file or directory",)
    assert "cannot be written" in problem(folder, combined / "none")


def test_a_name_that_cannot_be_looked_at_is_told_and_hides_nothing_else(folder: Path, combined: Path) -> None:
    put(folder / "web.pem", LEAF.pem, R3.pem, LEAF.key_pem())
    (folder / "long").symlink_to("x" * 300)
    (folder / "round").symlink_to("round")
    (folder / "lost+found").mkdir()
    (certificate,), problems = read(folder, combined, NOW)
    assert certificate.path.name == "web.pem"
    assert problems == (
        f"{folder}/long is not used: it cannot be read: File name too long",
        f"{folder}/round is not used: it cannot be read: Too many levels of symbolic links",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_only_others_may_read_is_told_and_hides_nothing_else(folder: Path, combined: Path) -> None:
    put(folder / "web.pem", LEAF.pem, R3.pem, LEAF.key_pem())
    for name in ("lost+found", "shop.test"):
        (folder / name).mkdir(0)
    found = read(folder, combined, NOW)
    assert len(found.certificates) == 1
    assert found.problems == (f"{folder}/shop.test is not used: it cannot be read: Permission denied",)


def test_a_name_that_is_not_utf_8_is_told_in_words_that_are(folder: Path, combined: Path) -> None:
    put(folder / os.fsdecode(b"\xff.pem"), LEAF.pem, R3.pem, LEAF.key_pem())
    assert problem(folder, combined).encode() == f"{folder}/\\udcff.pem is not used: its name is not UTF-8".encode()


def altered(certificate: Issued, old: bytes, new: bytes) -> bytes:
    der = certificate.certificate.public_bytes(serialization.Encoding.DER)
    assert old in der
    body = base64.encodebytes(der.replace(old, new, 1))
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        # The version of X.509, and the kind of its key.
        ("a003020102", "a003020105", "one of its certificates is damaged"),
        ("06072a8648ce3d0201", "06072a8648ce3d0277", "something in it is not known here (UnsupportedAlgorithm)"),
    ],
    ids=["version", "key"],
)
def test_what_cryptography_does_not_know_is_told_and_hides_nothing_else(
    folder: Path, combined: Path, old: str, new: str, words: str
) -> None:
    strange = altered(LEAF, bytes.fromhex(old), bytes.fromhex(new))
    put(folder / "bad.pem", strange, R3.pem, LEAF.key_pem())
    assert words in problem(folder, combined)
    put(folder / "web.pem", LEAF.pem, R3.pem, LEAF.key_pem())
    assert [each.path.name for each in read(folder, combined, NOW).certificates] == ["web.pem"]


def test_nothing_of_a_key_is_told_whatever_is_raised(
    folder: Path, combined: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(content: bytes, **_: object) -> None:
        raise RuntimeError(content)

    put(folder / "web.pem", LEAF.pem, R3.pem, LEAF.key_pem())
    monkeypatch.setattr(serialization, "load_pem_private_key", raises)
    assert (
        problem(folder, combined) == f"{folder}/web.pem is not used: something in it is not known here (RuntimeError)"
    )


def test_the_file_of_a_folder_of_certbot_that_is_gone_goes_too(folder: Path, combined: Path) -> None:
    for name in ("gone", "stays", "empty"):
        put(folder / name / "fullchain.pem", LEAF.pem, R3.pem)
        put(folder / name / "privkey.pem", LEAF.key_pem())
    assert len(read(folder, combined, NOW).certificates) == 3
    put(combined / ".gone.pem.0123abcd", LEAF.key_pem())
    not_ours = [put(combined / name, b"") for name in ("README", ".pem", ".hidden.pem")]
    (combined / "linked.pem").symlink_to(not_ours[0])
    (folder / "gone").rename(folder.parent / "elsewhere")
    for each in (folder / "empty").iterdir():
        each.unlink()
    # What is not used now may be again soon.
    (folder / "stays/privkey.pem").unlink()
    read(folder, combined, NOW)
    left = {each.name for each in combined.iterdir()}
    assert left == {"stays.pem", "linked.pem", *(each.name for each in not_ours)}
    # A folder that is not there now, say because nothing is mounted, is no word about what was in it.
    read(folder / "none", combined, NOW)
    assert (combined / "stays.pem").exists()


# -- and when they are read again


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Grows with every time that a folder is read."""
    found: list[Path] = []

    def counted(folder: Path, combined: Path) -> certificates.Found:
        found.append(folder)
        return read(folder, combined)

    monkeypatch.setattr(certificates, "read", counted)
    return found


def current(ends: timedelta = timedelta(days=80)) -> Issued:
    now = datetime.now(UTC)
    return Issued("own.test", hosts=("own.test",), begins=now - timedelta(days=1), ends=now + ends)


async def test_a_folder_is_read_again_when_something_in_it_has_changed(
    folder: Path, combined: Path, looks: list[Path]
) -> None:
    kept = CertificateFolder(folder, combined)
    own = current()
    path = put(folder / "own.pem", own.pem, own.key_pem(), mode=0o644)
    (words,) = (await kept.read())[1]
    assert "chmod o=" in words
    path.chmod(0o600)
    assert len((await kept.read())[0]) == 1
    linked = folder.parent / "live"
    linked.mkdir()
    (folder / "linked").symlink_to(linked)
    put(linked / "fullchain.pem", own.pem)
    key = put(linked / "privkey.pem", own.key_pem())
    assert len((await kept.read())[0]) == 2
    assert len(looks) == 3
    await kept.read()
    assert len(looks) == 3
    key.unlink()
    assert len((await kept.read())[0]) == 1


async def test_a_certificate_is_gone_when_it_ends_though_no_file_changes(
    folder: Path, combined: Path, looks: list[Path]
) -> None:
    own, other = current(timedelta(seconds=3)), current()
    put(folder / "own.pem", own.pem, own.key_pem())
    put(folder / "other.pem", other.pem, other.key_pem())
    kept = CertificateFolder(folder, combined)
    assert len((await kept.read())[0]) == 2
    ends = own.certificate.not_valid_after_utc
    await trio.to_thread.run_sync(until, lambda: datetime.now(UTC) >= ends)
    (left,), (words,) = await kept.read()
    assert left.path.name == "other.pem"
    assert "has expired" in words
    await kept.read()
    assert len(looks) == 2


async def test_a_folder_that_hangs_is_told_and_what_was_known_of_it_is_used(
    folder: Path, combined: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = current()
    put(folder / "own.pem", own.pem, own.key_pem())
    kept = CertificateFolder(folder, combined)
    known, _ = await kept.read()
    goes_on, begun, signature = threading.Event(), [], shelf._signature

    def hanging(of: Path) -> object:
        begun.append(of)
        assert goes_on.wait(DEADLINE_S)
        return signature(of)

    monkeypatch.setattr(shelf, "_signature", hanging)
    monkeypatch.setattr(shelf, "_LOOK_S", 0.2)
    try:
        with trio.fail_after(DEADLINE_S / 2):
            certificates, (words,) = await kept.read()
            # From now on nobody waits for it.
            monkeypatch.setattr(shelf, "_LOOK_S", DEADLINE_S)
            assert await kept.read() == (certificates, (words.replace("within 0 s", f"within {DEADLINE_S:.0f} s"),))
    finally:
        goes_on.set()
    assert certificates == known
    assert words == (
        f"{folder} could not be read within 0 s: its filesystem hangs, and what was last read of it is used"
    )
    assert len(begun) == 1
    (folder / "own.pem").unlink()
    await trio.to_thread.run_sync(until, lambda: not kept._looking.borrowed_tokens)
    assert await kept.read() == ((), ())


async def test_who_comes_while_another_reads_waits_for_it(
    folder: Path, combined: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = current()
    put(folder / "own.pem", own.pem, own.key_pem())
    kept, goes_on, signature = CertificateFolder(folder, combined), threading.Event(), shelf._signature
    monkeypatch.setattr(shelf, "_signature", lambda of: (goes_on.wait(DEADLINE_S), signature(of))[1])
    found = []

    async def look() -> None:
        found.append(await kept.read())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        goes_on.set()
    assert [(len(certificates), problems) for certificates, problems in found] == [(1, ()), (1, ())]
