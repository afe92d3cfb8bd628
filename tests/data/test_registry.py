# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The table of example files, and how one is found, checked, and downloaded."""

import dataclasses
import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from emsparse_hs import data
from emsparse_hs.data import Entry, _registry

FOLDERS = {"spectra", "stem", "ebsd", "tomo", "simulated"}
CONTENT, HEADER = b"a pattern or two", b"a header"


def entry(name="pattern.mib", content=CONTENT, **kwargs):
    sha256 = hashlib.sha256(content).hexdigest()
    return Entry(name, "stem", sha256, "GPL-3.0", "Made up; (2,) uint8", **kwargs)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of downloads, and no folder of example files."""
    monkeypatch.setattr(_registry, "_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv(_registry.VARIABLE, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def collection(cache, tmp_path, monkeypatch):
    """A folder of example files, named by the environment variable."""
    folder = tmp_path / "collection"
    (folder / "stem").mkdir(parents=True)
    monkeypatch.setenv(_registry.VARIABLE, str(folder))
    return folder


@pytest.fixture
def use(monkeypatch):
    """Put entries in the place of the table."""
    return lambda *entries: monkeypatch.setattr(
        _registry, "_table", lambda: {one.name: one for one in entries}
    )


@pytest.fixture
def server(monkeypatch):
    """Web server on this machine: a dictionary of what it has, and a list of what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            httpd.asked.append(self.path)
            content = httpd.contents.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.contents, httpd.asked = {"/a%20b.mib": CONTENT, "/header": HEADER}, []
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.mark.parametrize("name", data.names())
def test_each_entry_is_complete(name):
    one = data.about(name)
    assert one.folder in FOLDERS
    assert re.fullmatch("[0-9a-f]{64}", one.sha256)
    assert one.licence and one.about.strip() and "\n" not in one.about
    assert one.url or one.source
    if one.url:
        # A branch could move: the address of a file names a commit.
        assert one.url.startswith("https://") and re.search("/[0-9a-f]{40}/", one.url)
    assert all(data.about(other).folder == one.folder for other in one.companions)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.url = "https://elsewhere"


@pytest.mark.parametrize("name", [n for n in data.names() if data.about(n).shipped])
def test_shipped_files_come_first_and_with_their_licence(name, collection):
    (collection / name).write_bytes(b"another file of this name")
    found = data.path(name)
    assert found.parent.name == "files" and found.parent.parent.name == "data"
    assert found.with_name(f"{found.stem}.LICENSE.txt").read_text(encoding="utf-8").strip()


def test_every_shipped_file_is_in_the_table():
    files = (_registry._HERE / "files").glob("*")
    shipped = {file.name for file in files if not file.name.endswith(".LICENSE.txt")}
    assert shipped == {name for name in data.names() if data.about(name).shipped}


def test_an_unknown_name_is_answered_with_close_ones():
    with pytest.raises(ValueError, match=r"no example file 'HAADF\.mrc'.*etspy_HAADF\.mrc"):
        data.path("HAADF.mrc")
    with pytest.raises(ValueError, match="names.. lists all"):
        data.about("\N{SNOWMAN}")


@pytest.mark.parametrize("sub_folder", ["", "stem"])
def test_the_named_folder_is_preferred_to_the_cache(use, cache, collection, sub_folder):
    use(entry())
    cache.mkdir()
    (cache / "pattern.mib").write_bytes(CONTENT)
    assert data.path("pattern.mib") == cache / "pattern.mib"
    (collection / sub_folder / "pattern.mib").write_bytes(CONTENT)
    assert data.path("pattern.mib") == collection / sub_folder / "pattern.mib"


@pytest.mark.parametrize("place", ["collection", "cache"])
def test_another_content_is_an_error(use, cache, collection, place):
    use(entry())
    folder = {"collection": collection, "cache": cache}[place]
    folder.mkdir(exist_ok=True)
    (folder / "pattern.mib").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"pattern\.mib is not the file.*SHA-256"):
        data.path("pattern.mib")


def test_a_file_without_url_says_where_it_can_be_had(use, collection):
    use(entry(source="wheel of a package"))
    with pytest.raises(FileNotFoundError, match="wheel of a package.*EMSPARSE_HS_DATA") as error:
        data.path("pattern.mib")
    assert str(collection) in str(error.value)


def test_companions_must_lie_beside_the_file(use, cache, collection):
    names = "pattern.mib", "pattern.hdr"
    use(entry(companions=names[1:], source="x"), entry(names[1], HEADER, source="the header's"))
    (collection / "stem" / "pattern.mib").write_bytes(CONTENT)
    (collection / "pattern.hdr").write_bytes(HEADER)
    with pytest.raises(FileNotFoundError, match="in one folder.*the header's"):
        data.path("pattern.mib")
    (collection / "stem" / "pattern.hdr").write_bytes(b"not a header")
    with pytest.raises(ValueError, match=r"pattern\.hdr is not the file"):
        data.path("pattern.mib")
    _registry._verify.cache_clear()
    (collection / "stem" / "pattern.hdr").write_bytes(HEADER)
    assert data.path("pattern.mib") == collection / "stem" / "pattern.mib"


def test_downloads_once_with_companions(use, cache, server):
    use(
        entry(url=f"{server.url}/a%20b.mib", companions=("pattern.hdr",)),
        entry("pattern.hdr", HEADER, url=f"{server.url}/header"),
    )
    with pytest.raises(FileNotFoundError, match="/a%20b.mib"):
        data.path("pattern.mib", download=False)
    assert server.asked == []
    found = data.path("pattern.mib")
    assert found == cache / "pattern.mib" and found.read_bytes() == CONTENT
    assert (cache / "pattern.hdr").read_bytes() == HEADER
    assert data.path("pattern.mib") == data.path("pattern.mib", download=False) == found
    assert sorted(server.asked) == ["/a%20b.mib", "/header"]


def test_a_companion_is_downloaded_beside_a_file_put_into_the_cache(use, cache, server):
    url = f"{server.url}/header"
    use(entry(companions=("pattern.hdr",), source="x"), entry("pattern.hdr", HEADER, url=url))
    with pytest.raises(FileNotFoundError, match=r"pattern\.mib: x"):
        data.path("pattern.mib")
    assert server.asked == []
    cache.mkdir()
    (cache / "pattern.mib").write_bytes(CONTENT)
    assert data.path("pattern.mib") == cache / "pattern.mib"
    assert (cache / "pattern.hdr").read_bytes() == HEADER


def test_a_download_of_another_content_is_an_error_and_not_kept(use, cache, server):
    use(entry(url=f"{server.url}/header"))
    with pytest.raises(ValueError, match="hash"):
        data.path("pattern.mib")
    assert not (cache / "pattern.mib").exists()


def test_a_cached_file_that_is_not_up_to_date_is_downloaded_again(use, cache, server):
    use(entry(url=f"{server.url}/a%20b.mib"))
    cache.mkdir()
    (cache / "pattern.mib").write_bytes(b"an older version")
    assert data.path("pattern.mib").read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["/gone", None])
def test_a_failing_download_names_the_variable(use, cache, server, address):
    # Port 9 is not listened to.
    use(entry(url=server.url + address if address else "http://127.0.0.1:9/pattern.mib"))
    with pytest.raises(ConnectionError, match=r"pattern\.mib could not be.*EMSPARSE_HS_DATA"):
        data.path("pattern.mib")


def load_one(index=None, **kwargs):
    """Reader of the data of one signal of a file."""

    def read(file):
        import hyperspy.api as hs

        loaded = hs.load(file, **kwargs)
        return (loaded if index is None else loaded[index]).data

    return read


def load_patterns(file):
    return pytest.importorskip("kikuchipy").load(file).data


def load_velox(file):
    pytest.importorskip("sparse", reason="this reader needs the package sparse")
    return load_one(-1)(file)


def load_mat(file):
    from scipy.io import loadmat

    return loadmat(file)["datar"]


#: Reader, shape, dtype and sum, as counted when the files were chosen.
CONTENTS = {
    "espm_88_ES_G8_EDS.hspy": (load_one(), (80, 80, 1917), "u1", 716887),
    "particlespy_SiO2_EDS_SI.hspy": (load_one(), (128, 128, 2048), "u4", 823049),
    "particlespy_SiO2_HAADF.hspy": (load_one(), (128, 128), "f4", None),
    "shiga_mn3o4_EELS.mat": (load_mat, (24, 22, 138), "f8", 0.33476648),
    "shiga_mn3o4_EELS_malspy.npz": (lambda f: np.load(f)["X"], (24, 22, 138), "f8", 0.44726424),
    "bcf_v2_50x50px.bcf": (load_one(-1), (50, 50, 2048), "u1", 949769),
    "Hitachi_TM3030Plus.bcf": (load_one(-1), (240, 320, 2048), "u1", 171804),
    "test_TEM.bcf": (load_one(-1), (64, 64, 2048), "u1", 26005),
    "velox_SI_SuperX_10frames_10x50.emd": (load_velox, (50, 10, 4096), "u2", 764005),
    "LSMO_linescan_EELS.hdf5": (load_one(reader="HSPY"), (40, 586), "f4", 4.2617218e9),
    "LSMO_linescan_EELS_lowloss.hdf5": (load_one(reader="HSPY"), (40, 1024), "f4", 43413101),
    "blockfile_3x2x144x144.blo": (load_one(), (3, 2, 144, 144), "u1", 5164570),
    "merlin_4x2x256x256_6bit.mib": (load_one(), (2, 4, 256, 256), "u1", 3623664),
    "16x16-diffraction_imagel_5x5x256x256_EDS.emi": (
        load_one(1),
        (5, 5, 256, 256),
        "i4",
        -74820010,
    ),
    "16_STOimage.emi": (load_one(), (1024, 1024), "u2", 1.9659052e10),
    "nickel_small_3x3x60x60.h5": (load_patterns, (3, 3, 60, 60), "u1", 4732574),
    "si_moving_screen_in.h5": (load_patterns, (480, 480), "u1", 15453480),
    "xcdskd_Ni_Example3.bmp": (load_one(), (230, 320), "u1", 8198607),
    # Phase 1, austenite, 5657 times; phase 2, ferrite, 6043 times.
    "sdss_ferrite_austenite.ang": (
        lambda f: np.loadtxt(f, usecols=7, dtype=int),
        (11700,),
        "i8",
        5657 + 2 * 6043,
    ),
    "etspy_HAADF.mrc": (load_one(), (77, 256, 256), "i2", -1.3952139e11),
    "etspy_HAADF.rawtlt": (np.loadtxt, (77,), "f8", 0),
    "etspy_HAADF_Aligned.hspy": (load_one(), (77, 256, 256), "f4", 2.1406343e10),
    # Compared with the file above in test_examples.py.
    "needle_HAADF_aligned_crop.hspy": (load_one(), (77, 96, 64), "u2", None),
    "cbed_table_PbTiO3_180wall.npz": (
        lambda f: np.load(f)["I"],
        (204, 16, 3, 32, 32),
        "f2",
        None,
    ),
    "cbed_PbTiO3.npz": (lambda f: np.load(f)["scores"], (204, 16, 3, 64), "f2", 8100.2756469),
}


def test_contents_of_all_files_are_known():
    companions = {other for name in data.names() for other in data.about(name).companions}
    assert set(data.names()) - companions <= set(CONTENTS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONTENTS)
def test_loads_to_what_is_described(name, example):
    read, shape, dtype, total = CONTENTS[name]
    array = read(example(name))
    assert array.shape == shape
    assert array.dtype == dtype
    if total is not None:
        np.testing.assert_allclose(array.sum(dtype=float), total, rtol=1e-7, atol=1e-9)
