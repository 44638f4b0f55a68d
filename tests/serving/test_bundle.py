import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import bundle
from serving._errors import Final, Retryable

WHO = {"verdict": "both lower bounds above 0", "promoted_at": "2024-03-06T10:00:00+00:00", "promoted_by": "gate"}


def write(home, model=b"graph one", gated=True, pipeline="majors"):
    return bundle.write_bundle(home, pipeline, model, {"schema": 1, "family": "linear"}, gated=gated, **WHO)


def test_a_promoted_bundle_loads_with_the_hash_of_its_graph(tmp_path):
    written = write(tmp_path)
    bundle.promote(tmp_path, "majors", written.sha256)
    loaded = bundle.load_current(tmp_path, "majors", live=True)
    assert loaded.model == b"graph one" and loaded.sha256 == sha256(b"graph one").hexdigest()
    assert loaded.manifest["family"] == "linear" and loaded.promotion.verdict == WHO["verdict"]


def test_without_a_champion_the_error_says_what_to_run(tmp_path):
    with pytest.raises(Retryable, match="tradewind retrain"):
        bundle.load_current(tmp_path, "majors")


def test_promoting_again_remembers_the_champion_before(tmp_path):
    one, two = write(tmp_path), write(tmp_path, b"graph two")
    assert bundle.promote(tmp_path, "majors", one.sha256) is None
    assert bundle.promote(tmp_path, "majors", two.sha256) == one.sha256
    assert bundle.pointers(tmp_path, "majors") == (two.sha256, one.sha256)
    assert bundle.promote(tmp_path, "majors", two.sha256) == one.sha256, "promoting the champion itself changes nothing"
    assert bundle.pointers(tmp_path, "majors") == (two.sha256, one.sha256)


@settings(max_examples=30)
@given(st.binary(min_size=1, max_size=200), st.data())
def test_any_changed_byte_of_the_graph_is_refused(tmp_path_factory, model, data):
    home = tmp_path_factory.mktemp("home")
    written = write(home, model)
    bundle.promote(home, "majors", written.sha256)
    at = data.draw(st.integers(0, len(model) - 1))
    changed = bytearray(model)
    changed[at] ^= data.draw(st.integers(1, 255))
    (written.folder / "model.onnx").write_bytes(bytes(changed))
    with pytest.raises(Final, match=r"model\.onnx: sha256"):
        bundle.load_current(home, "majors")


def test_a_changed_manifest_is_refused(tmp_path):
    written = write(tmp_path)
    bundle.promote(tmp_path, "majors", written.sha256)
    (written.folder / "manifest.json").write_text('{"schema": 1, "family": "xgboost"}', encoding="utf-8")
    with pytest.raises(Final, match=r"manifest\.json: sha256"):
        bundle.load_current(tmp_path, "majors")


def test_a_bundle_moved_to_another_pipeline_is_refused(tmp_path):
    written = write(tmp_path)
    other = tmp_path / "champions" / "other" / written.sha256
    other.parent.mkdir()
    written.folder.rename(other)
    with pytest.raises(Final, match="promoted for 'majors'"):
        bundle.load_bundle(other)


def test_a_missing_file_is_named(tmp_path):
    written = write(tmp_path)
    (written.folder / "promotion.json").unlink()
    with pytest.raises(Final, match=r"lacks promotion\.json"):
        bundle.load_bundle(written.folder)


def test_a_model_without_a_gate_trades_practice_only(tmp_path):
    written = write(tmp_path, gated=False)
    with pytest.raises(Final, match="passed no gate"):
        bundle.promote(tmp_path, "majors", written.sha256)
    bundle.promote(tmp_path, "majors", written.sha256, alias="practice")
    assert bundle.load_current(tmp_path, "majors", alias="practice").sha256 == written.sha256
    with pytest.raises(Final, match="refused on a live account"):
        bundle.load_current(tmp_path, "majors", alias="practice", live=True)


def test_a_newer_schema_is_refused(tmp_path):
    written = write(tmp_path)
    path = written.folder / "promotion.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"schema": 99}), encoding="utf-8")
    with pytest.raises(Final, match="schema 99 is newer"):
        bundle.load_bundle(written.folder)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "c:x", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(tmp_path, name):
    with pytest.raises(Final, match="pipeline name"):
        bundle.pointers(tmp_path, name)


def test_writing_leaves_no_half_written_folder(tmp_path):
    write(tmp_path)
    write(tmp_path)
    assert [p.name for p in (tmp_path / "champions" / "majors").iterdir()] == [sha256(b"graph one").hexdigest()]
