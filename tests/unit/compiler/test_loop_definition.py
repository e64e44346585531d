"""The definition that a loop file compiles to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from river import compose, linear_model, naive_bayes, optim, preprocessing, tree

from headrace import Count, Label, Last, Loop, Max, Mean, Min, Model, Std, Stream, Sum, View, col
from headrace.compiler import LoadedLoop, compile, learners
from headrace.declare.durations import parse_duration
from headrace.definition import (
    Aggregate,
    AggregateDefinition,
    Apply,
    Column,
    Field,
    FieldType,
    Keep,
    LabelDefinition,
    Literal,
    LoopDefinition,
    Task,
    Window,
)
from headrace.errors import DefinitionErrors, UnknownName
from headrace.wire import compiled_loop

HOUR = 3_600_000_000


class Ordered(Stream, key="customer", time="at", id="order", lateness="10m", horizon="2d", partitions=4, ahead="1h"):
    order: int
    at: datetime
    customer: str
    payer: str
    price: float
    gift: bool
    shop: str | None = None


class Returned(Stream, name="returns", key="customer", time="at", id="number"):
    number: str
    order: int
    at: datetime
    customer: str
    reason: str
    days: int
    refund: float


def learner() -> object:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def compiled(**declared: object) -> LoopDefinition:
    return compile({"Ordered": Ordered, "Returned": Returned, **declared})


def returned(**changes: object) -> Label:
    defaults: dict[str, object] = {"value": col("refund") > 0, "within": "7d", "id": "order"}
    return Label(Returned, of=Ordered, **{**defaults, **changes})  # type: ignore[arg-type]


def model(*features: object, label: Label | None = None, **changes: object) -> Model:
    defaults: dict[str, object] = {"on": Ordered, "features": features or (Ordered.price,), "learner": learner}
    return Model("returns_it", label=label or returned(name="will_return"), **{**defaults, **changes})  # type: ignore[arg-type]


def view(**changes: object) -> View:
    defaults: dict[str, object] = {"by": "customer", "windows": ["3h"], "aggregates": {"orders": Count()}}
    return View(Ordered, **{**defaults, **changes})  # type: ignore[arg-type]


def test_a_stream() -> None:
    ordered = compiled().stream("ordered")
    assert ordered.fields == (
        Field("order", FieldType.INT),
        Field("at", FieldType.TIME),
        Field("customer", FieldType.STRING),
        Field("payer", FieldType.STRING),
        Field("price", FieldType.FLOAT),
        Field("gift", FieldType.BOOL),
        Field("shop", FieldType.STRING, optional=True),
    )
    assert (ordered.key, ordered.time, ordered.id) == ("customer", "at", "order")
    assert (ordered.lateness, ordered.horizon, ordered.ahead) == (HOUR // 6, 48 * HOUR, HOUR)
    assert (ordered.partitions, ordered.max_bytes) == (4, 65_536)
    assert (compiled().stream("returns").ahead, compiled().stream("returns").marks) == (24 * HOUR, "anyone")


def test_a_stream_may_extend_another() -> None:
    class Gift(Ordered, key="payer", time="at", id="order"):
        card: str

    [stream] = [stream for stream in compiled(Gift=Gift).streams if stream.name == "gift"]
    assert [field.name for field in stream.fields][-2:] == ["shop", "card"]
    assert stream.key == "payer"
    gifts = View(Gift, by="payer", windows="3h", aggregates={"spent": Sum(Ordered.price)})
    assert compiled(gifts=gifts).view("gifts").stream == "gift"


def test_a_view() -> None:
    spending = compiled(
        spending=view(
            windows=["90m", timedelta(days=1)],
            aggregates={
                "orders": Count(),
                "shops": Count("shop"),
                "sum": Sum("price"),
                "mean": Mean("euros"),
                "min": Min("price"),
                "max": Max(Ordered.price),
                "std": Std((col("price") * 2).named("price")),
                "last": Last("gift"),
            },
            derive={"euros": col("price") / 100, "dear": col("euros") > 50, "unused": col("price") + 1},
            where=col("dear") & ~col("gift"),
            hop={"90m": "5m"},
            resolution="500ms",
            keep="31m",
        )
    ).view("spending")
    euros = Apply("div", (Column("price"), Literal(100.0)))
    assert spending.stream == "ordered"
    assert spending.by == ("customer",)
    assert spending.columns == (("euros", euros), ("price * 2", Apply("mul", (Column("price"), Literal(2.0)))))
    assert spending.where == Apply("and", (Apply("gt", (euros, Literal(50.0))), Apply("not", (Column("gift"),))))
    assert spending.aggregates == (
        AggregateDefinition("orders", "count", None),
        AggregateDefinition("shops", "count", "shop"),
        AggregateDefinition("sum", "sum", "price"),
        AggregateDefinition("mean", "mean", "euros"),
        AggregateDefinition("min", "min", "price"),
        AggregateDefinition("max", "max", "price"),
        AggregateDefinition("std", "std", "price * 2"),
        AggregateDefinition("last", "last", "gift"),
    )
    assert spending.windows == (Window("90m", 3 * HOUR // 2, HOUR // 12), Window("1d", 24 * HOUR, 2 * HOUR))
    assert (spending.resolution, spending.keep) == (500_000, 1_860_000_000)


def test_ticks_are_kept_a_minute_longer_than_thrice_the_loop_s_greatest_lateness() -> None:
    later = View(Returned, by="customer", windows="3h", aggregates={"n": Count()})
    assert compiled(later=later).view("later").keep == HOUR // 2 + 60_000_000


@pytest.mark.parametrize(
    ("window", "resolution", "hop"),
    [
        ("10s", "1s", "1s"),
        ("1m", "1s", "5s"),
        ("5m", "1s", "15s"),
        ("1h", "1s", "5m"),
        ("3h", "1s", "15m"),
        ("24h", "1s", "2h"),
        ("7d", "1s", "12h"),
        ("30d", "1s", "1d"),
        ("7s", "1s", "1s"),
        ("1s", "1ms", "50ms"),
        ("3h", "10m", "10m"),
        ("1h", "7s", None),
    ],
)
def test_hops_are_round_and_at_most_a_twelfth_of_the_window(window: str, resolution: str, hop: str | None) -> None:
    spent = view(windows=[window], resolution=resolution)
    if hop is None:
        with pytest.raises(DefinitionErrors, match="no multiple of"):
            compiled(spent=spent)
    else:
        assert compiled(spent=spent).view("spent").windows[0].hop == parse_duration(hop)


def test_a_label() -> None:
    assert compiled(returned=returned()).label("returned") == LabelDefinition(
        "returned",
        "returns",
        "ordered",
        "order",
        Apply("gt", (Column("refund"), Literal(0.0))),
        FieldType.BOOL,
        7 * 24 * HOUR,
    )


def test_the_id_of_a_label_is_by_default_its_stream_s() -> None:
    label = Label(Ordered, of=Ordered, value=Ordered.gift, within="0s")
    assert compiled(label=label).label("label").id == "order"


@pytest.mark.parametrize(
    ("value", "estimator", "task"),
    [
        (col("refund") > 0, linear_model.LogisticRegression, Task.BINARY),
        (col("reason"), linear_model.SoftmaxRegression, Task.MULTICLASS),
        (col("days"), tree.HoeffdingTreeClassifier, Task.MULTICLASS),
        (col("refund"), linear_model.LinearRegression, Task.REGRESSION),
        (col("days") / 7, tree.HoeffdingTreeRegressor, Task.REGRESSION),
    ],
)
def test_the_task_is_that_of_the_label_s_type(value: object, estimator: type, task: Task) -> None:
    label = returned(value=value, name="label")
    assert compiled(m=model(label=label, learner=estimator)).model("returns_it").task is task


def test_the_features_of_a_model() -> None:
    spent = view(windows=["3h", "24h"], aggregates={"sum": Sum("price"), "mean": Mean("price")})
    returns_it = model(
        spent,
        spent["mean"].signed_log(),
        spent["sum", "3h"] - spent["sum", "24h"],
        spent.of(customer="payer")["sum"],
        spent.of(customer=Ordered.payer)["mean", "3h"].named("payer_mean"),
        Ordered.price,
        Ordered.gift,
        col("at").hour,
        Ordered.at.weekday,
        col(Ordered.shop).one_hot(["a", "b"]),
    )
    features = compiled(spent=spent, m=returns_it).model("returns_it").features
    assert [feature.name for feature in features] == [
        "spent.sum.3h",
        "spent.sum.24h",
        "spent.mean.3h",
        "spent.mean.24h",
        "spent.mean.3h.signed_log",
        "spent.mean.24h.signed_log",
        "spent.sum.3h - spent.sum.24h",
        "spent.of(customer=payer).sum.3h",
        "spent.of(customer=payer).sum.24h",
        "payer_mean",
        "price",
        "gift",
        "at.hour",
        "at.weekday",
        "shop=a",
        "shop=b",
    ]
    values = {feature.name: feature.value for feature in features}
    assert values["spent.sum.24h"] == Aggregate("spent", "sum", "24h", ("customer",))
    assert values["payer_mean"] == Aggregate("spent", "mean", "3h", ("payer",))
    assert values["spent.mean.3h.signed_log"] == Apply("signed_log", (Aggregate("spent", "mean", "3h", ("customer",)),))
    assert values["at.weekday"] == Apply("weekday", (Column("at"),))
    assert {feature.type for feature in features} == {FieldType.FLOAT}


def test_the_outcome_of_another_event_is_no_leak() -> None:
    class Reordered(Ordered, key="customer", time="at", id="order"):
        original: int

    label = Label(Returned, of=Reordered, value=col("refund") > 0, within="7d", id="order", name="label")
    outcome = View(Returned, by="order", windows="30d", aggregates={"refund": Sum("refund")})
    returns_it = model(outcome.of(order="original"), on=Reordered, label=label)
    assert len(compiled(outcome=outcome, m=returns_it).model("returns_it").features) == 1


def test_a_forecast_may_use_the_field_that_a_later_event_tells() -> None:
    label = Label(Ordered, of=Ordered, by="customer", after="1h", within="2h", value=Ordered.price, name="label")
    definition = compiled(m=model(Ordered.price, label=label, learner=linear_model.LinearRegression))
    (compiled_label,), asking = definition.labels, definition.model("returns_it")
    assert (compiled_label.id, compiled_label.after, compiled_label.within, asking.entity) == (
        "customer",
        HOUR,
        2 * HOUR,
        "customer",
    )
    assert [feature.name for feature in asking.features] == ["price"]


def test_an_absent_outcome_and_a_share_of_a_class_are_as_the_log_has_them() -> None:
    refunded = col("refund") > 0
    label = Label(
        Returned, of=Ordered, value=refunded, within="7d", id="order", name="label", absent=False, keep={False: 0.1}
    )
    (compiled_label,) = compiled(m=model(label=label)).labels
    assert (compiled_label.absent, compiled_label.keep, compiled_label.correct) == (0.0, (Keep(0.0, 0.1),), False)


def test_a_learner_without_weights_keeps_no_share_of_a_class() -> None:
    label = Label(
        Returned, of=Ordered, value=col("refund") > 0, within="7d", id="order", name="label", keep={False: 0.1}
    )
    with pytest.raises(DefinitionErrors, match="its learner, GaussianNB, takes no weights"):
        compiled(m=model(Ordered.price, label=label, learner=naive_bayes.GaussianNB))


def test_a_string_is_a_feature_of_its_own_type() -> None:
    one_hot = compose.SelectType(str) | preprocessing.OneHotEncoder()
    pipeline = one_hot + compose.SelectType(float)
    returns_it = model(
        Ordered.shop, Ordered.price, learner=lambda: pipeline.clone() | linear_model.LogisticRegression()
    )
    features = compiled(m=returns_it).model("returns_it").features
    assert [(feature.name, feature.type) for feature in features] == [("shop", "string"), ("price", "float")]


def test_the_settings_of_a_model() -> None:
    returns_it = model(
        vectors="requests", max_delay="1s", publish_every=10, publish_after="2s", score_from=datetime(1970, 1, 2)
    )
    settings = compiled(m=returns_it).model("returns_it")
    assert (settings.vectors, settings.max_delay, settings.publish_examples) == ("requests", 1_000_000, 10)
    assert (settings.publish_after, settings.score_from) == (2_000_000, 24 * HOUR)


@pytest.mark.parametrize("text", ["1970-01-02", "1970-01-02T00:00", "1970-01-02T01:00+01:00"])
def test_a_time_without_zone_is_utc(text: str) -> None:
    assert compiled(m=model(score_from=text)).model("returns_it").score_from == 24 * HOUR


def test_the_loop_names_itself() -> None:
    assert compiled().name == "loop"
    assert compiled().idle == 5_000_000
    named = compiled(loop=Loop("shop", idle="250ms"))
    assert (named.name, named.idle) == ("shop", 250_000)


def test_what_a_model_refers_to_belongs_to_the_loop() -> None:
    inline = view(name="inline")
    loop = compile({"m": model(inline["orders"].fill(0), label=returned(name="label"))})
    assert [stream.name for stream in loop.streams] == ["ordered", "returns"]
    assert [view.name for view in loop.views] == ["inline"]
    assert [label.name for label in loop.labels] == ["label"]


def test_a_compiled_loop_is_read_as_it_was_written(loaded: Callable[..., LoadedLoop]) -> None:
    loop = loaded().definition
    assert compiled_loop.decode(compiled_loop.encode(loop)) == loop


def test_hashes_are_the_same_in_every_process(loaded: Callable[..., LoadedLoop]) -> None:
    here = loaded()
    program = (
        "import sys; from headrace.compiler import load; from headrace.wire.compiled_loop import encode;"
        "sys.stdout.buffer.write(encode(load(sys.argv[1]).definition))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    there = subprocess.run(
        [sys.executable, "-c", program, str(here.path)], env=environment, capture_output=True, check=True
    ).stdout
    assert there == compiled_loop.encode(here.definition)
    assert compiled_loop.decode(there).models[0].hash == here.definition.models[0].hash


def version(loop: LoadedLoop) -> str:
    return loop.definition.models[0].hash


@pytest.mark.parametrize(
    "edit",
    [
        ('Mean("delay_min")', 'Mean(col("delay_min") / 60)'),
        ('windows=["3h", "24h"]', 'windows=["3h", "24h"], hop="1h"'),
        ("> 15", "> 16"),
        ('within="48h"', 'within="47h"'),
        ("Scheduled.distance,", "Scheduled.distance.signed_log(),"),
        ("LogisticRegression(),", "LogisticRegression(l2=0.1),"),
    ],
    ids=str,
)
def test_a_version_knows_all_that_it_was_made_of(edit: tuple[str, str], loaded: Callable[..., LoadedLoop]) -> None:
    assert version(loaded(edit)) != version(loaded())


@pytest.mark.parametrize(
    "edit",
    [
        ("LogisticRegression(),", "LogisticRegression(),\n    publish_every=7,"),
        ('windows=["3h", "24h"]', 'windows=["3h", "24h"], keep="7m"'),
        ("\nlate = ", '\nother = View(Arrived, by="tail", windows="3h", aggregates={"n": Count()})\nlate = '),
    ],
    ids=str,
)
def test_publishing_and_keeping_make_no_new_version(edit: tuple[str, str], loaded: Callable[..., LoadedLoop]) -> None:
    assert version(loaded(edit)) == version(loaded())


def test_a_learner_is_described_with_all_its_parameters() -> None:
    pipeline = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.AdaGrad(0.05), l2=0.1)
    text = learners.describe(pipeline)
    assert "StandardScaler(with_std=True" in text
    assert "optimizer=AdaGrad(lr=Constant(learning_rate=0.05), eps=1e-08)" in text
    assert "l2=0.1" in text
    select = learners.describe(compose.Select("b", "a") | linear_model.LogisticRegression())
    assert "Select(_POSITIONAL_ARGS={'a', 'b'})" in select


def test_what_has_no_text_of_its_own_cannot_be_described() -> None:
    with pytest.raises(ValueError, match="no text that is the same in every process"):
        learners.describe(object())


def test_the_learner_of_a_model_is_new_each_time(loaded: Callable[..., LoadedLoop]) -> None:
    loop = loaded()
    first = loop.learner("late_arrival")
    assert first is not loop.learner("late_arrival")
    assert list(first.steps) == ["StandardScaler", "LogisticRegression"]
    with pytest.raises(UnknownName, match="'early', expected one of late_arrival"):
        loop.learner("early")


def test_every_part_of_the_definition_is_plain_data(loaded: Callable[..., LoadedLoop]) -> None:
    assert msgspec.json.decode(compiled_loop.encode(loaded().definition))["body"]["name"] == "flights"
