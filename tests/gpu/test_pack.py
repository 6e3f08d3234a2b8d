import io
import subprocess
import tarfile
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from tests.bench.servers import ROOT
from tests.gpu.pack import BUILD, MORE, locked, prune, split, store

SCRIPT = ROOT / "scripts/gpu-check"


def test_a_stored_wheel_has_the_same_files(tmp_path: Path):
    wheel, copy = tmp_path / "a.whl", tmp_path / "b.whl"
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        archive.writestr("package/__init__.py", "x = 1\n" * 1000)
    store(wheel, copy)
    with ZipFile(copy) as stored:
        assert stored.read("package/__init__.py") == b"x = 1\n" * 1000
        assert stored.infolist()[0].compress_size == 6000


def test_of_the_source_only_what_is_compiled_is_kept(tmp_path: Path):
    source, target = tmp_path / "source.tar.gz", tmp_path / "kept.tar"
    names = ("CMakeLists.txt", "vendor/llama.cpp/src/a.cpp", "vendor/llama.cpp/models/a", ".git/b")
    with tarfile.open(source, "w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(f"llama_cpp_python-1/{name}")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    prune(source, target)
    with tarfile.open(target) as kept:
        assert kept.getnames() == [f"llama_cpp_python-1/{name}" for name in names[:2]]
        member = kept.extractfile(kept.getnames()[1])
        assert member is not None
        assert member.read() == b"abc"


def test_pieces_make_the_whole_in_the_order_of_their_names(tmp_path: Path):
    whole = tmp_path / "whole"
    whole.write_bytes(bytes(range(250)))
    folder = tmp_path / "pack"
    split(whole, folder, 2)  # of an earlier pack nothing stays
    pieces = split(whole, folder, 20)
    assert max(piece.stat().st_size for piece in pieces) == 20
    assert sorted(folder.iterdir()) == pieces
    assert b"".join(piece.read_bytes() for piece in pieces) == whole.read_bytes()


def test_what_is_packed_beside_the_server_s_needs_is_locked_with_hashes():
    for line in (locked("dev", MORE) + locked("build", BUILD)).splitlines():
        assert "--hash=sha256:" in line


def test_without_a_pack_the_script_says_how_to_make_one(tmp_path: Path):
    command = [str(SCRIPT), "--from", str(tmp_path), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    expected = (
        f"gpu-check: there is no pack.00 in {tmp_path}; gpu-check --pack {tmp_path} makes it\n"
    )
    assert done.stderr == expected


def test_a_broken_pack_leaves_no_stamp_that_would_pass_for_a_whole_one(tmp_path: Path):
    pack, home = tmp_path / "pack", tmp_path / "home"
    pack.mkdir()
    (pack / "pack.00").write_bytes(b"half an archive")
    command = [str(ROOT / "scripts/gpu-unpack"), str(pack), str(home)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert not (home / "stamp").exists()
