"""The output of `check --against` for each kind of change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import compiler
from headrace.definition import LoopDefinition
from headrace.engine.events.schema import SchemaConflict
from headrace.history.changes import Change, Facts, KeptEvents, Outcome, compare
from tests.support.changed_loops import LOOP, MORE

DAY = 86_400_000_000


Compare = Callable[..., dict[str, Change]]


@pytest.fixture
def changed(tmp_path: Path) -> Compare:
    """Compare the loop with an edited one: return the changes by kind and name."""

    def load(text: str, *edits: tuple[str, str]) -> LoopDefinition:
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / "loop.py"
        file.write_text(text)
        return compiler.load(file).definition

    def compared(
        *edits: tuple[str, str], facts: Facts | None = None, before: tuple[tuple[str, str], ...] = ()
    ) -> dict[str, Change]:
        changes = compare(load(LOOP, *before), load(LOOP, *edits), facts or Facts())
        found: dict[str, Change] = {}
        for change in changes:
            found.setdefault(f"{change.kind} {change.name}", change)
        return found

    return compared


def outcomes(changes: dict[str, Change]) -> dict[str, str]:
    return {name: str(change.outcome) for name, change in changes.items() if change.outcome is not Outcome.KEPT}


def problems(changes: dict[str, Change]) -> dict[str, str]:
    return {name: change.problem for name, change in changes.items() if change.problem}


def test_an_unchanged_loop_keeps_everything(changed: Compare) -> None:
    changes = changed(facts=Facts(examples={"m": 1_234}))
    assert list(changes) == ["stream asked", "stream sold", "view sales", "label late", "model m"]
    assert outcomes(changes) == problems(changes) == {}
    assert changes["model m"].reason == "1,234 examples"


def test_settings_that_make_nothing_else_keep_everything(changed: Compare) -> None:
    changes = changed(("LogisticRegression(),", "LogisticRegression(), publish_every=10,"))
    assert outcomes(changes) == problems(changes) == {}


def test_a_shorter_lateness_tells_what_becomes_late(changed: Compare) -> None:
    key = 'Asked(Stream, key="shop"'
    asked, shorter = (key, f'{key}, lateness="2m"'), (key, f'{key}, lateness="10s"')
    (problem,) = problems(changed(shorter, before=(asked,))).values()
    assert "came more than 10s behind the newest are late where they are read again" in problem
    assert "lateness='2m' keeps them" in problem
    assert problems(changed(asked, before=(shorter,))) == {}


def test_a_new_view_is_filled_beside_the_old_one(changed: Compare) -> None:
    changes = changed(MORE)
    assert outcomes(changes) == {"view week": "filled"}
    assert changes["view week"].reason == "from the kept events of sold"
    assert changes["view sales"].reason == "folded again with week, on the same stream; answers say so meanwhile"


def test_a_new_view_of_another_stream_leaves_a_view_alone(changed: Compare) -> None:
    asks = 'asks = View(Asked, by="shop", windows=["1h"], aggregates={"n": Count()})\nlate = Label'
    changes = changed(("late = Label", asks))
    assert outcomes(changes) == {"view asks": "filled"}
    assert changes["view sales"].reason == ""


@pytest.mark.parametrize(
    ("kept", "short"),
    [
        (KeptEvents(0, 3 * DAY, complete=False), True),
        (KeptEvents(0, 3 * DAY, complete=True), False),
        (KeptEvents(0, 8 * DAY, complete=False), False),
        (KeptEvents(None, None, complete=True), False),
    ],
)
def test_events_that_are_no_longer_kept_make_no_rows(changed: Compare, kept: KeptEvents, short: bool) -> None:
    found = problems(changed(MORE, facts=Facts(kept={"sold": kept})))
    assert list(found) == (["view week"] if short else [])
    if short:
        assert found["view week"].startswith("the events of sold reach back 3d, and its rows need 7d1m.")


def test_a_kept_view_that_is_folded_again_needs_its_events_too(changed: Compare) -> None:
    events = KeptEvents(0, DAY // 48, complete=False)
    assert list(problems(changed(MORE, facts=Facts(kept={"sold": events})))) == ["view sales", "view week"]
    assert problems(changed(facts=Facts(kept={"sold": events}))) == {}


def test_a_changed_view_and_the_model_that_reads_it_are_remade(changed: Compare) -> None:
    changes = changed(('windows=["1h"]', 'windows=["1h", "3h"]'), facts=Facts(examples={"m": 50}))
    assert outcomes(changes) == {"view sales": "remade", "model m": "remade"}
    assert changes["view sales"].reason == "windows 1h → 1h, 3h: from the kept events of sold"
    assert (
        changes["model m"].reason
        == "view sales changed; features added: sales.count.3h: its examples from the kept events"
    )
    assert changes["model m"].problem == ""
    assert changes["model m"].meanwhile == (
        "the old version, until the new definition has learned 50 examples, or all that are kept; sales is folded in "
        "the old form, too, until then"
    )


def test_another_learner_learns_the_kept_examples(changed: Compare) -> None:
    changes = changed(("LogisticRegression(),", "LogisticRegression(l2=0.1),"), facts=Facts(examples={"m": 50}))
    assert outcomes(changes) == {"model m": "remade"}
    assert changes["model m"].reason == "learner: learns 50 examples again, from the first"
    assert (
        changes["model m"].meanwhile
        == "the old version, until the new definition has learned 50 examples, or all that are kept"
    )
    assert problems(changes) == {}


def test_the_old_version_answers_while_its_views_are_there(changed: Compare) -> None:
    with_takeover = ("LogisticRegression(),", "LogisticRegression(), takeover=7,")
    added = changed(("[sales, Asked.price]", "[sales, Asked.price, Asked.price * 2]"))
    expected = (
        "the old version, until the new definition has learned as many examples as that has, or all that are kept"
    )
    assert added["model m"].meanwhile == expected
    replaced = changed(("[sales, Asked.price]", "[Asked.price * 2]"), with_takeover, facts=Facts(examples={"m": 50}))
    assert replaced["model m"].meanwhile == "the old version, until the new definition has learned 7 examples"
    gone = changed(("[sales, Asked.price]", "[Asked.price]"), ("sales = View(", "other = View("))
    assert gone["model m"].meanwhile.endswith("; sales is folded in the old form, too, until then")
    assert changed()["model m"].meanwhile == ""


def test_another_label_remakes_its_models(changed: Compare) -> None:
    changes = changed(('within="1h"', 'within="2h"'))
    assert outcomes(changes) == {"label late": "remade", "model m": "remade"}
    assert changes["label late"].reason.startswith("within 1h → 2h;")
    assert changes["model m"].reason == "label late changed: its examples from the kept events"


def test_examples_that_no_kept_event_makes_are_not_carried_over(changed: Compare) -> None:
    price = ("[sales, Asked.price]", "[sales, Asked.price * 2]")
    events = {"asked": KeptEvents(0, 86_400_000_000, complete=False), "sold": KeptEvents(0, 86_400_000_000, True)}
    facts = Facts(kept=events, examples={"m": 50})
    assert changed(price, facts=facts)["model m"].problem == (
        "of 50 examples those are made that the kept events hold: those of asked reach back 1d"
    )
    by_request = ("LogisticRegression(),", 'LogisticRegression(), vectors="requests",')
    before = changed(price, by_request, facts=facts, before=(by_request,))
    assert before["model m"].problem == "50 examples of the old definition are not learned: requests are not kept"


def test_what_is_left_out_is_removed(changed: Compare) -> None:
    changes = changed(before=(MORE,))
    assert outcomes(changes) == {"view week": "removed"}
    assert problems(changes) == {}


RENAMED = (
    ("sales = View(Sold,", 'takings = View(Sold, was="sales",'),
    ("[sales,", "[takings,"),
    ("late = Label(Sold,", 'tardy = Label(Sold, was="late",'),
    ("label=late", "label=tardy"),
    ('"m", on=', '"n", was="m", on='),
)


def test_renamed_parts_are_kept(changed: Compare) -> None:
    changes = changed(*RENAMED)
    assert outcomes(changes) == problems(changes) == {}
    assert [change.was for change in changes.values()] == [None, None, "sales", "late", "m"]


def test_a_rename_without_was_is_pointed_out(changed: Compare) -> None:
    changes = changed(('"m", on=', '"n", on='))
    assert outcomes(changes) == {"model n": "new", "model m": "removed"}
    assert changes["model n"].reason.endswith('; if it is m under a new name, write was="m"')


def test_a_model_that_was_left_out_comes_back_with_its_examples(changed: Compare) -> None:
    changes = changed(('"m", on=', '"n", on='), facts=Facts(examples={"n": 9}))
    assert changes["model n"].reason.startswith("comes back; it had 9 examples")


@pytest.mark.parametrize("edit", ['"o", was="n", on=', '"n", on='])
def test_a_second_rename_has_to_name_the_state(changed: Compare, edit: str) -> None:
    renamed = ('"m", on=', '"n", was="m", on=')
    [problem] = problems(changed(('"m", on=', edit), before=(renamed,))).values()
    assert problem == "the state of model n has the name 'm'. Write was='m'"


def test_a_was_without_state_is_told(changed: Compare) -> None:
    [problem] = problems(changed(('"m", on=', '"n", was="k", on='))).values()
    assert problem.startswith("was='k' names no model of the running loop.")


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (("price: float", "price: float\n    size: int"), "field 'size' is new and required"),
        (("late: bool", "late: bool\n    size: int"), "field 'size' is new and required"),
        (("    price: float\n", "    price: int\n"), "field 'price' is int, expected float"),
        (('Sold(Stream, key="shop"', 'Sold(Stream, key="id"'), "its key is id, and all that was made of it"),
    ],
)
def test_events_that_do_not_fit_any_more_are_told(changed: Compare, edit: tuple[str, str], problem: str) -> None:
    changes = changed(edit)
    [found] = problems(changes).values()
    assert problem in found
    refused = [] if "its key" in problem else ["refused"]
    assert [outcome for part, outcome in outcomes(changes).items() if part.startswith("stream")] == refused


def test_an_optional_field_is_told_and_kept(changed: Compare) -> None:
    changes = changed(("price: float", "price: float\n    size: int | None"))
    assert outcomes(changes) == problems(changes) == {}
    assert changes["stream asked"].reason == "fields added: size"


def test_what_the_broker_refuses_is_refused(changed: Compare) -> None:
    conflict = SchemaConflict("asked", "size", "field 'size' is new", "Declare it optional")
    changes = changed(facts=Facts(conflicts={"asked": [conflict]}, partitions={"sold": 4, "asked": 1}))
    assert outcomes(changes) == {"stream asked": "refused", "stream sold": "refused"}
    assert changes["stream asked"].problem == "field 'size' is new. Declare it optional"
    assert changes["stream sold"].problem.endswith("4 partitions, and it is declared with 1. Declare partitions=4")
