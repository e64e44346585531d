"""Pipelines that have a compiled form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from river import compose, linear_model, optim, preprocessing

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: optim.SGD(0.05),
    "adagrad": lambda: optim.AdaGrad(0.1),
    "adagrad, integer rate": lambda: optim.AdaGrad(1, eps=1e-3),
    "adam": lambda: optim.Adam(0.02, beta_1=0.8),
    "rmsprop": lambda: optim.RMSProp(0.02, rho=0.7),
    "ftrl": lambda: optim.FTRLProximal(),
    "ftrl, sparse": lambda: optim.FTRLProximal(alpha=0.3, beta=0.5, l1=0.2, l2=0.1),
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "l2": {"l2": 0.03},
    "l1": {"l1": 0.002},
    "clipped": {"clip_gradient": 0.3},
    "other intercept": {"intercept_init": 2, "intercept_lr": 0.2},
    "fixed intercept": {"intercept_lr": 0, "clip_gradient": 1},
}
OVER_NUMBERS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "standard": preprocessing.StandardScaler,
    "centred": lambda: preprocessing.StandardScaler(with_std=False),
    "min-max": preprocessing.MinMaxScaler,
    "twice": lambda: preprocessing.MinMaxScaler() | preprocessing.StandardScaler(),
    "beside": lambda: (compose.Select("d", "a") | preprocessing.StandardScaler()) + compose.Discard("a", "d"),
    "namesakes": lambda: (
        (compose.Discard("a") | preprocessing.StandardScaler()) + (compose.Discard("b") | preprocessing.MinMaxScaler())
    ),
}
OVER_TEXT: dict[str, Callable[[], Any]] = {
    "encoded": lambda: (
        (compose.SelectType(float) | preprocessing.StandardScaler())
        + (compose.SelectType(str) | preprocessing.OneHotEncoder())
    ),
    "encoded without zeros": lambda: (
        compose.SelectType(float) + (compose.SelectType(str) | preprocessing.OneHotEncoder(drop_zeros=True))
    ),
    "encoded twice": lambda: (
        (compose.SelectType(float) | preprocessing.MinMaxScaler())
        + (compose.SelectType(str) | compose.Discard("b_x") | preprocessing.OneHotEncoder())
        + (compose.SelectType(str) | preprocessing.OneHotEncoder(drop_zeros=True))
    ),
    "encoded thrice": lambda: (
        (compose.SelectType(str) | preprocessing.OneHotEncoder(drop_zeros=True))
        + (compose.SelectType(str) | compose.Discard("city") | preprocessing.OneHotEncoder())
        + compose.SelectType(float)
        + (compose.Select("city") | preprocessing.OneHotEncoder())
    ),
    "numbers of a mixed row": lambda: compose.SelectType(float) | preprocessing.StandardScaler(),
}


def pipeline(transformer: Callable[[], Any], model: Any) -> Any:
    step = transformer()
    return model if step is None else step | model


def logistic(optimizer: str, parameters: str, **others: Any) -> Any:
    return linear_model.LogisticRegression(OPTIMIZERS[optimizer](), **PARAMETERS[parameters], **others)


def linear(optimizer: str, parameters: str) -> Any:
    return linear_model.LinearRegression(OPTIMIZERS[optimizer](), **PARAMETERS[parameters])
