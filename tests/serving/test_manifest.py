"""The manifest: one typed record, canonical text, one metadata key."""

import json
import re
from dataclasses import fields, replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving._errors import Final
from serving.decision import LOTS, TARGET, DecisionSpec
from serving.manifest import KEY, SCHEMA, Manifest, ThresholdOrigin, from_json, read_manifest, stamp
from tests.serving._samples import graph, manifest


def changed(**keys):
    """The manifest's JSON with keys put in; a value of ... takes the key out."""
    document = {**json.loads(manifest().to_json()), **keys}
    return json.dumps({key: value for key, value in document.items() if value is not ...})


def test_a_manifest_survives_its_own_text():
    assert from_json(manifest().to_json()) == manifest()


def test_the_text_is_canonical_and_words_stand_for_codes():
    text = manifest().to_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert json.loads(text)["decision"]["mode"] == "barrier"
    assert json.loads(text)["decision"]["sizing"] == "risk"
    assert json.loads(text)["schema"] == SCHEMA
    assert manifest(params={"b": 1, "a": 2}).to_json() == manifest(params={"a": 2, "b": 1}).to_json()


def test_every_key_is_in_the_text():
    assert json.loads(manifest().to_json()).keys() == {f.name for f in fields(Manifest)}


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 500), st.integers(0, 2**63 - 1), st.sampled_from([None, 0, 400]))
def test_numbers_come_back_to_the_last_bit(long, short, horizon, seed, rounds):
    spec = DecisionSpec(TARGET, long, short, 1.1, 2.2, horizon, LOTS, 0.0, 0.07)
    whole = manifest(decision=spec, seed=seed, rounds=rounds)
    assert from_json(whole.to_json()) == whole


def test_numpy_numbers_are_written_as_numbers():
    assert from_json(manifest(params={"depth": np.int64(3), "rate": np.float64(0.1)}).to_json()).params == {
        "depth": 3,
        "rate": 0.1,
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"schema": SCHEMA + 1},
            f"manifest schema {SCHEMA + 1} is newer than {SCHEMA}, the newest this version reads; update Tradewind",
        ),
        ({"schema": ...}, "manifest has no key 'schema'"),
        ({"schema": "1"}, "manifest schema is '1'"),
        ({"seed": ...}, "manifest has no key 'seed'; register the model again"),
        ({"featurs": []}, "manifest has an unknown key 'featurs'; did you mean 'features'?"),
        ({"zzz": 1}, "manifest has an unknown key 'zzz'"),
        ({"features": []}, "manifest key 'features' is []; it must be a list of one or more words, none twice"),
        ({"features": ["a", "a"]}, "none twice"),
        ({"symbols": "EURUSD"}, "manifest key 'symbols' is 'EURUSD'"),
        ({"window_bars": 0}, "manifest key 'window_bars' is 0; it must be 1 or more"),
        ({"window_bars": True}, "manifest key 'window_bars' is True; it must be a whole number"),
        ({"window_bars": 2.0}, "manifest key 'window_bars' is 2.0"),
        ({"training_span": [2, 1]}, "two epoch seconds, the earlier first"),
        ({"cost_source": "guess"}, "manifest key 'cost_source' is 'guess'; it must be one of broker, user, assumed"),
        ({"mode": "demo"}, "it must be one of simulated, paper, real"),
        ({"family": ""}, "manifest key 'family' is ''; it must be a word"),
        ({"label": []}, "manifest key 'label' is []; it must be an object"),
        ({"versions": {"onnx": 1}}, "manifest key 'versions.onnx' is 1; it must be a word"),
        ({"decision": {}}, "manifest decision has no key 'fixed_lots'"),
        ({"thresholds": {"chosen_on": "holdout", "rows": 1, "span": [0, 1]}}, "chosen on the holdout"),
        ({"thresholds": {"chosen_on": "validation", "rows": 1}}, "manifest thresholds has no key 'span'"),
    ],
)
def test_what_cannot_be_trusted_is_refused_in_one_line_that_names_it(keys, message):
    with pytest.raises(Final, match=re.escape(message)) as caught:
        from_json(changed(**keys))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mode", "both", "manifest key 'decision.mode' is 'both'; it must be barrier or target"),
        ("sizing", 0, "manifest key 'decision.sizing' is 0; it must be risk or lots"),
        ("stop_atr", "1.5", "manifest key 'decision.stop_atr' is '1.5'; it must be a finite number"),
        ("horizon_bars", 1.5, "manifest key 'decision.horizon_bars' is 1.5; it must be a whole number"),
        ("stop", 1.0, "manifest decision has an unknown key 'stop'"),
    ],
)
def test_a_wrong_decision_spec_is_refused(key, value, message):
    decision = {**json.loads(manifest().to_json())["decision"], key: value}
    with pytest.raises(Final, match=re.escape(message)):
        from_json(changed(decision=decision))


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_text_that_is_no_manifest_is_refused(text):
    with pytest.raises(Final, match="manifest"):
        from_json(text)


def test_a_number_that_json_cannot_hold_is_refused_when_written():
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises(Final, match="majors/linear cannot be written as JSON"):
            manifest(params={"rate": value}).to_json()


def test_stamping_changes_the_metadata_and_nothing_else(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(graph())
    stamp(path, manifest())
    assert read_manifest(path) == manifest()
    model = onnx.load(str(path))
    assert [entry.key for entry in model.metadata_props] == [KEY]
    del model.metadata_props[:]
    assert model.SerializeToString(deterministic=True) == graph()
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_stamping_again_replaces_the_manifest_and_the_same_manifest_gives_the_same_bytes(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(graph())
    stamp(path, manifest())
    first = path.read_bytes()
    stamp(path, manifest(seed=8))
    assert read_manifest(path).seed == 8
    stamp(path, manifest())
    assert path.read_bytes() == first


def test_a_manifest_that_could_not_be_read_back_is_never_stamped(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(graph())
    chosen_on_holdout = replace(manifest(), thresholds=ThresholdOrigin("holdout", 5, (0, 1)))
    for broken in (chosen_on_holdout, manifest(features=()), manifest(mode="demo")):
        with pytest.raises(Final):
            stamp(path, broken)
    assert path.read_bytes() == graph()


def test_a_bare_graph_has_no_manifest(tmp_path):
    (tmp_path / "model.onnx").write_bytes(graph())
    with pytest.raises(Final, match="carries no manifest"):
        read_manifest(tmp_path / "model.onnx")
