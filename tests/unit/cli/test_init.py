"""`headrace init` makes a loop from tables of many shapes, and says what it cannot know."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.cli.init.facts import look_at
from headrace.cli.program import run
from headrace.compiler import load
from headrace.definition import FieldType, LoopDefinition, Task
from headrace.files import read

START = datetime(2026, 1, 5, tzinfo=UTC)


def rows(count: int = 200) -> list[dict[str, object]]:
    chance = random.Random(5)
    return [
        {
            "time": START + timedelta(minutes=7 * number),
            "sensor": f"s{chance.randrange(4)}",
            "level": round(chance.gauss(0, 1), 3),
            "state": chance.choice(["on", "off", "idle"]),
            "fault": chance.random() < 0.2,
        }
        for number in range(count)
    ]


def csv_of(table: list[dict[str, object]], header: str | None = None) -> str:
    lines = [header or ",".join(table[0]), *(",".join(str(value) for value in row.values()) for row in table)]
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(name: str, content: str, *options: str) -> LoopDefinition:
    """Return the loop of a table, of which every row is an event."""
    Path(name).write_text(content)
    assert run(["init", name, "--force", *options]) == 0
    loop = load(Path(name).with_suffix(".py")).definition
    for part in read(name, loop.streams[0]):
        assert part.faults == []
    return loop


def test_a_table_of_readings() -> None:
    loop = init("readings.csv", csv_of(rows()))
    (stream,), (model,) = loop.streams, loop.models
    assert (stream.name, stream.time, stream.key, stream.content_id) == ("readings", "time", "sensor", True)
    assert (model.task, loop.labels[0].known_at) == (Task.BINARY, None)
    assert any(feature.name.startswith("state=") for feature in model.features)
    assert any(feature.name.startswith("history.") for feature in model.features)
    assert "fault" not in [feature.name for feature in model.features]
    text = Path("readings.py").read_text()
    assert text.count("?") >= 4
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("form", "write"),
    [
        ("s", lambda at: f"{at.timestamp():.0f}"),
        ("ms", lambda at: f"{at.timestamp() * 1_000:.0f}"),
        ("%d.%m.%Y %H:%M", lambda at: f"{at:%d.%m.%Y %H:%M}"),
        ("%Y/%m/%d %H:%M", lambda at: f"{at:%Y/%m/%d %H:%M}"),
        (None, lambda at: at.isoformat()),
    ],
)
def test_times_as_they_are_written(form: str | None, write: object) -> None:
    table = [row | {"time": write(row["time"])} for row in rows()]  # type: ignore[operator]
    assert init("readings.csv", csv_of(table)).streams[0].time_format == form


def test_names_that_no_field_has_missing_values_and_ids() -> None:
    table = [
        {
            "Order No": f"A{number}",
            "order time": row["time"],
            "class": row["state"],
            "a b": "NA" if number % 3 else "5.0",
            "": 1,
        }
        for number, row in enumerate(rows())
    ]
    loop = init("orders_2026.csv", csv_of(table, "Order No,order time,class,a b,"))
    stream = loop.streams[0]
    assert [field.name for field in stream.given] == ["Order_No", "order_time", "class_", "a_b"]
    assert (stream.id, stream.missing, loop.models[0].task) == ("Order_No", ("NA",), Task.MULTICLASS)


def test_an_outcome_that_is_known_later() -> None:
    chance = random.Random(3)
    table = [
        {
            "started_at": row["time"],
            "ended_at": row["time"] + timedelta(minutes=chance.randrange(1, 50)),
            "km": row["level"],
            "minutes": 3,
        }  # type: ignore[operator]
        | {"minutes": chance.randrange(1, 50)}
        for row in rows()
    ]
    loop = init("rides.csv", csv_of(table), "--label", "minutes")
    assert (loop.streams[0].time, loop.labels[0].known_at) == ("started_at", "ended_at")
    assert loop.models[0].task is Task.REGRESSION


def hours() -> list[dict[str, object]]:
    """Rentals of bicycles an hour, in the columns of a well-known data set."""
    chance = random.Random(9)
    table = []
    for number in range(300):
        casual, registered = chance.randrange(30), chance.randrange(100)
        counts = {"casual": casual, "registered": registered, "cnt": casual + registered}
        temp = round(chance.random(), 2)
        sky = {"weathersit": chance.randrange(1, 4), "temp": temp, "temp_f": 32 + 1.8 * temp}
        table.append({"dteday": START + timedelta(hours=number), "holiday": 0, **sky, **counts})
    return table


def test_a_count_is_predicted_rather_than_the_weather() -> None:
    loop = init("hour.csv", csv_of(hours()))
    assert loop.models[0].name == "hour_cnt"


def test_columns_that_add_up_to_the_label_are_no_features(capsys: pytest.CaptureFixture[str]) -> None:
    loop = init("hour.csv", csv_of(hours()))
    plain = [feature.name for feature in loop.models[0].features if "=" not in feature.name]
    assert plain == ["weathersit", "temp", "temp_f"]
    assert capsys.readouterr().out.count("known only with the label?") == 2


def test_a_sum_is_found_beside_missing_values_and_cents() -> None:
    chance = random.Random(4)
    table = []
    for row in rows():
        fare, tip = round(5 + 20 * chance.random(), 2), chance.choice(["", 1.25, 3.1])
        paid = {"fare_amount": fare, "extra": tip, "km": round(chance.random(), 1)}
        table.append({"time": row["time"], **paid, "total": round(fare + (tip or 0.0) + 0.5, 2)})
    loop = init("trips.csv", csv_of(table))
    assert loop.models[0].name == "trips_total"
    assert [feature.name for feature in loop.models[0].features if "=" not in feature.name] == ["km"]


@pytest.mark.parametrize(
    ("values", "condition"),
    [
        ([0.5 * number for number in range(200)], "> 49.5 is true for 50"),
        ([0] * 190 + list(range(1, 5_000_001, 500_000)), "> 0 is true for 5"),
        ([940] * 150 + list(range(50)), "> 49 is true for 75"),
        ([1_234_567] * 100 + [2_000_000 + number for number in range(100)], "> 1234567 is true for 50"),
    ],
)
def test_the_suggested_condition_splits_the_rows(values: list[float], condition: str) -> None:
    table = [{"time": row["time"], "cost": value} for row, value in zip(rows(), values, strict=True)]
    init("costs.csv", csv_of(table))
    assert f"# value=Costs.cost {condition} % of the rows looked at.\n" in Path("costs.py").read_text()


def test_json_lines_and_parquet_are_tables_too() -> None:
    table = [row | {"time": row["time"].isoformat()} for row in rows()]  # type: ignore[attr-defined]
    loop = init("readings.jsonl", "".join(json.dumps(row) + "\n" for row in table))
    assert loop.models[0].task is Task.BINARY


def test_what_is_out_of_order_is_to_be_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    table = rows(1_000)
    loop = init("readings.csv", csv_of([*table[500:], *table[:500]]))
    assert loop.streams[0].lateness == 0
    assert 'sort_values("time"' in capsys.readouterr().out
    loop = init("readings.csv", csv_of([table[1], table[0], *table[2:]]))
    assert loop.streams[0].lateness == timedelta(minutes=7) // timedelta(microseconds=1)


def trips(gaps: int, gap: str = "") -> list[dict[str, object]]:
    """Rows of which some have no start."""
    times = [{"pickup": row["time"], "dropoff": row["time"] + timedelta(minutes=3)} for row in rows()]  # type: ignore[operator]
    table = [time | {"fare": row["level"]} for time, row in zip(times, rows(), strict=True)]
    return [row | {"pickup": gap} if 20 <= number < 20 + gaps else row for number, row in enumerate(table)]


@pytest.mark.parametrize(("gaps", "time"), [(0, "pickup"), (1, "pickup"), (2, "pickup"), (20, "dropoff")])
def test_a_few_gaps_do_not_change_which_column_is_the_time(gaps: int, time: str) -> None:
    Path("trips.csv").write_text(csv_of(trips(gaps)))
    assert run(["init", "trips.csv"]) == 0
    assert load(Path("trips.py")).definition.streams[0].time == time


@pytest.mark.parametrize(("gaps", "gap"), [(2, ""), (2, "NA"), (50, "")])
def test_rows_without_a_time_are_counted_and_refused(gaps: int, gap: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("trips.csv").write_text(csv_of([{"pickup": row["pickup"], "fare": row["fare"]} for row in trips(gaps, gap)]))
    assert run(["init", "trips.csv"]) == 0
    note = f"{gaps} of 200 rows have no pickup: refused, each with its reason, when sent"
    assert f"note: {note}\n" in capsys.readouterr().out
    assert f"# {note}.\n" in Path("trips.py").read_text()
    [part] = read("trips.csv", load(Path("trips.py")).definition.streams[0])
    assert len(part.faults) == gaps


@pytest.mark.parametrize("unit", [None, "s"])
def test_the_printed_commands_allow_for_rows_without_a_time(
    unit: str | None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = [
        {"time": f"{row['time'].timestamp():.0f}" if unit else row["time"], "level": row["level"]}  # type: ignore[attr-defined]
        for row in rows(1_000)
    ]
    gap: dict[str, object] = {"time": "NA", "level": 1}
    Path("t.csv").write_text(csv_of([*table[500:], gap, *table[:500], gap]))
    assert run(["init", "t.csv"]) == 0
    sort, *_, score = (shlex.split(line) for line in capsys.readouterr().out.splitlines()[-4:])
    assert "time" in json.loads(score[-1])
    subprocess.run([sys.executable, *sort[1:]], check=True)
    assert (tmp_path / "sorted.csv").read_text() == csv_of([*table, gap, gap])


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("a,b\n1,2\n3,4\n", 4, "a table without a column of times"),
        ("time,a\n2026-01-01,1\n", 4, "a table with nothing to predict"),
        ("time;a\n2026-01-01;1\n", 4, "semicolons"),
    ],
)
def test_a_table_of_which_no_loop_can_be_made(
    content: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("t.csv").write_text(content)
    assert run(["init", "t.csv"]) == code
    assert said in capsys.readouterr().err
    assert not Path("t.py").exists()


def test_a_loop_file_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text("time,a\n2026-01-01,1\n")
    Path("t.py").write_text("mine")
    assert run(["init", "t.csv"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("t.py").read_text() == "mine"


def test_fewer_rows_are_examined_if_they_are_long() -> None:
    table = [
        {"time": START + timedelta(minutes=number), "text": "x" * 900_000, "level": number} for number in range(90)
    ]
    Path("long.csv").write_text(csv_of(table))
    found = look_at(Path("long.csv"))
    assert (found.rows, found.complete) == (90, False)
    assert 70 < len(found.sample) < 80


@pytest.mark.parametrize("text", ["e{}", ".{}e", "+e{}", "-", "."])
def test_texts_that_look_like_numbers_are_texts(text: str) -> None:
    table = [row | {"code": text.format(number)} for number, row in enumerate(rows())]
    stream = init("codes.csv", csv_of(table)).streams[0]
    assert stream.field("code").type is FieldType.STRING


def test_aggregates_have_valid_and_unique_names() -> None:
    table = [
        {"Date": row["time"], "Store": row["sensor"], "Amount": row["level"], "AMOUNT": row["level"]}
        | {"count": row["level"], "State": row["state"]}
        for row in rows()
    ]
    loop = init("sales.csv", csv_of(table), "--label", "State")
    names = [(entry.name, entry.column) for entry in loop.views[0].aggregates]
    assert names == [("count", None), ("amount", "Amount"), ("amount_2", "AMOUNT"), ("mean_count", "count")]


@pytest.mark.parametrize("name", ["river", "numpy", "json", "label", "none"])
def test_a_loop_file_hides_no_package_and_no_import(name: str) -> None:
    Path(f"{name}.csv").write_text(csv_of(rows()))
    assert run(["init", f"{name}.csv"]) == 0
    assert not Path(f"{name}.py").exists()
    assert load(Path(f"table_{name}.py")).definition.streams[0].name == f"table_{name}"


def test_the_printed_commands_are_safe_in_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    table = [row | {"sensor": f"O'{row['sensor']}"} for row in rows(1_000)]
    Path("my table!.csv").write_text(csv_of([*table[500:], *table[:500]]))
    assert run(["init", "my table!.csv"]) == 0
    sort, up, play, score = (shlex.split(line) for line in capsys.readouterr().out.splitlines()[-4:])
    assert sort[:2] == ["python", "-c"]
    assert 'pd.read_csv("my table!.csv",' in sort[2]
    compile(sort[2], "command", "exec")
    assert up == ["headrace", "up", "my_table.py"]
    assert play == ["headrace", "play", "sorted.csv", "--loop", "my_table"]
    assert score[:5] == ["headrace", "score", "my_table_fault", "--loop", "my_table"]
    assert json.loads(score[6])["sensor"].startswith("O'")


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        ("%m/%d/%Y %I:%M %p", "01/31/2026 05:46 PM"),
        ("%d-%b-%y", "05-Jan-26"),
        ("%b %d, %Y %I:%M %p", "Jul 17, 2024 10:17 AM"),
    ],
)
def test_usual_dates_are_times(form: str, cell: str) -> None:
    moments = [START + timedelta(days=3 * number, minutes=101 * number) for number in range(200)]
    cells = [cell, *(f"{moment:{form}}" for moment in moments)]
    quoted = [{"time": f'"{text}"'} | {"level": number, "fault": number % 3} for number, text in enumerate(cells)]
    assert init("readings.csv", csv_of(quoted)).streams[0].time_format == form


def test_dates_of_another_kind_are_named_with_a_conversion(capsys: pytest.CaptureFixture[str]) -> None:
    table = [row | {"time": f"{row['time']:%d %b %y %H:%M:%S.0}"} for row in rows()]
    Path("t.csv").write_text(csv_of(table, "Sold on,sensor,level,state,fault"))
    assert run(["init", "t.csv"]) == 4
    message, command = capsys.readouterr().err.splitlines()
    assert "column 'Sold_on' is no time ('05 Jan 26 23:13:00.0')" in message
    assert command.startswith("  python -c ")
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    assert run(["init", "timed.csv"]) == 0
    assert look_at(Path("timed.csv")).columns[0].kind is FieldType.TIME


def test_a_value_that_makes_a_column_a_text_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    lines = csv_of(rows()).splitlines()
    lines[150] = '2026-01-05,s1,n/k,"on\noff",True'
    lines[160] = "2026-01-05,s1,n/k,on,True"
    Path("t.csv").write_text("\n".join(lines) + "\n")
    assert run(["init", "t.csv"]) == 0
    note = "level is a text: 2 of 200 values of 'level' are no number: 'n/k' in line 151"
    assert f"note: {note}\n" in capsys.readouterr().out
    assert f"# {note}.\n" in Path("t.py").read_text()


def test_a_repeated_header_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    header, *lines = csv_of(rows()).splitlines()
    Path("t.csv").write_text("\n".join([header, *lines[:120], header, *lines[120:]]) + "\n")
    assert run(["init", "t.csv"]) == 4
    assert "1 of 201 values of 'time' is no time: 'time' in line 122" in capsys.readouterr().err


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("name", "said"), [("", "the first column has no name in the header, and"), ("Unnamed: 0", "'Unnamed: 0'")]
)
def test_a_column_that_numbers_the_rows_is_left_out(
    name: str, said: str, first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [{"index": number} | row for number, row in enumerate(rows(), first)]
    loop = init("t.csv", csv_of(table, f"{name},time,sensor,level,state,fault"))
    assert [field.name for field in loop.streams[0].given] == ["time", "sensor", "level", "state", "fault"]
    assert f"note: {said} is left out: it only numbers the rows\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (",time,sensor,level,state,fault", "the first column has no name in the header, and"),
        ("index,time,sensor, ,state,fault", "column 4 has no name in the header, and"),
        ("index,time,sensor,state,state,fault", "'state'"),
        ("_,time,sensor,level,state,fault", "'_'"),
    ],
)
def test_a_column_without_a_name_of_its_own_is_left_out(
    header: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    init("t.csv", csv_of([{"index": 7} | row for row in rows()], header))
    assert f"note: {said} is left out: a field needs a name of its own\n" in capsys.readouterr().out


@pytest.mark.parametrize("label", ["Water flow [l/s]", "Water_flow_l_s"])
@pytest.mark.parametrize("time", ["Read at", "Read_at"])
def test_columns_may_be_named_as_in_the_header(label: str, time: str) -> None:
    table = csv_of(rows(), "Read at,sensor,Water flow [l/s],state,fault")
    loop = init("water.csv", table, "--label", label, "--time", time)
    assert (loop.models[0].name, loop.streams[0].time) == ("water_water_flow_l_s", "Read_at")


@pytest.mark.parametrize(
    ("cells", "options"),
    [("10,8;a", "sep=';', decimal=','"), ("10.8;a,b", "sep=';'"), ('"10,8";a', "sep=';', decimal=','")],
)
def test_semicolons_with_decimal_commas(cells: str, options: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text(f"amount;name\n{cells}\n")
    assert run(["init", "t.csv"]) == 4
    assert f"read_csv(..., {options})" in capsys.readouterr().err
