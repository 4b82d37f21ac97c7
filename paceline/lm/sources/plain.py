"""Whether a module tree is the plain one: what its configuration builds, computing what its classes say.

Only such a tree may be copied, packed or computed by other code. Any other (adapters, hooks, replaced layers) alone knows what it
computes, now and after the next switch of an adapter, so it runs live, through its own forward.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module

__all__ = ["plain"]

HOME = ("torch.nn.", "transformers.", "torch.utils._contextlib.", "torch.amp.")  # known classes, and decorators of their methods
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
CAPTURING = "transformers.utils.output_capturing"  # leaves hooks behind that note what a module returns and change nothing


def plain(model: Any) -> str:
    """The reason why a transformers model is not plain, one clause; "" where it is.

    Plain: its modules are, name by name, of the classes that `type(model)(model.config)` has, all of torch.nn or transformers;
    no forward hooks, global ones included, no method replaced on a module or its class, no parametrised, quantised or offloaded
    weights. Looks at the model as it is now; costs about a millisecond for a hundred modules, more the first time for a
    configuration.
    """
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return "a global forward hook is registered"
    reasons = (f"{why} ({name or 'the model itself'})" for name, m in model.named_modules() if (why := changed(m)))
    return next(reasons, "") or difference(model)


def changed(module: nn.Module) -> str:
    """What makes one module compute something else than its class does, or makes that class unknown; "" for nothing."""
    kind = type(module)
    if not home(kind.__module__):
        return f"{kind.__module__}.{kind.__qualname__} is not a module of torch.nn or transformers"
    hooks = [hook for name in HOOKS for hook in getattr(module, name, {}).values()]
    if hasattr(module, "_hf_hook") or any(getattr(hook, "__module__", "") != CAPTURING for hook in hooks):
        return "a module has forward hooks"
    if hasattr(module, "parametrizations"):
        return "a module's weights are parametrised"
    if any(inspect.isfunction(getattr(kind, name, None)) for name in vars(module)):
        return "a method of a module is replaced"
    if not all(home(name) for method in (kind.forward, kind.__call__) for name in origins(method)):
        return f"{kind.__qualname__}'s forward is replaced"
    weights = module._parameters.values()
    if any(w is not None and (type(w) not in (torch.Tensor, nn.Parameter) or w.is_meta) for w in weights):
        return "a module's weights are quantised or offloaded"
    return ""


def home(name: str) -> bool:
    return f"{name}.".startswith(HOME)


def origins(method: Callable[..., Any] | None) -> Iterator[str]:
    """The module in which a function is written, and those of all that it wraps: `__module__` is copied by `functools.wraps`."""
    while method is not None:
        yield getattr(method, "__globals__", {}).get("__name__", "")
        method = getattr(method, "__wrapped__", None)


def difference(model: Any) -> str:
    """The first module that is not what the model's configuration builds; "" where all are."""
    kind: Any = type(model)
    config: Any = type(model.config)
    try:
        built = classes(kind, config, json.dumps(model.config.to_dict(), sort_keys=True, default=str))
    except Exception as error:  # whatever a class does where it is built without weights
        return f"{kind.__name__} cannot be built from its configuration ({type(error).__name__})"
    found = {name: type(m) for name, m in model.named_modules()}
    different = next((name for name in {**built, **found} if built.get(name) is not found.get(name)), None)
    return "" if different is None else f"{different or 'the model'} is not what the model's configuration builds"


@lru_cache(maxsize=8)
def classes(kind: Any, config: Any, settings: str) -> dict[str, type]:
    """Name and class of every module of a model of this kind, built without weights."""
    with torch.device("meta"):
        return {name: type(m) for name, m in kind(config.from_dict(json.loads(settings))).named_modules()}
