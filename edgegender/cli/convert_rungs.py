"""The ways to quantize that ``edgegender convert`` tries, one or all in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgegender.cli.console import note, progress
from edgegender.entities import QuantizationScheme
from edgegender.errors import UsageError

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt

    from edgegender.cli.convert_source import Source
    from edgegender.conversion.convert import Candidate
    from edgegender.conversion.ladder import Rung
    from edgegender.conversion.quantization import IntegerPlan, Quantizer

_FLOAT_LAYERS_TRIED = (2, 6)  # the ladder's, the cheapest first
INTEGER_SCHEMES = (QuantizationScheme.FULL_INTEGER, QuantizationScheme.MIXED_INTEGER)


@dataclass(frozen=True)
class Training:
    """How a network is trained further.

    Args:
        batches: Starts a fresh stream of batches.
        num_steps: Steps.
        learning_rate: The peak, as a share of the weights' size; ``None`` for what each training does best with.
        seed: Of order and augmentation.
    """

    batches: Callable[[], Iterator[npt.NDArray[np.float32]]]
    num_steps: int
    learning_rate: float | None
    seed: int

    @property
    def options(self) -> dict[str, Any]:
        """What every kind of training takes."""
        rate = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return {"num_steps": self.num_steps, "seed": self.seed, **rate}


@contextlib.contextmanager
def _steps(label: str) -> Iterator[Callable[[int, int, float], None]]:
    note(f"{label} …")
    with progress(label) as update:
        yield lambda done, total, loss: update(done, total)  # noqa: ARG005 - the loss stands in the record


def _describe(plan: IntegerPlan) -> dict[str, object]:
    from edgegender.conversion.layers import short_name

    return {
        "ranges": plan.ranges,
        "bias_correction": plan.is_bias_corrected,
        "per_channel": plan.is_per_channel,
        "io_type": plan.io_type,
        **({"float_layers": [short_name(name) for name in plan.float_layers]} if plan.float_layers else {}),
    }


def scheme_rung(scheme: QuantizationScheme, quantizer: Quantizer, plan: IntegerPlan, *, float_layers: int = 0) -> Rung:
    """Returns the one way that a scheme and a plan stand for."""
    from edgegender.conversion.convert import Candidate
    from edgegender.conversion.ladder import Rung

    def make() -> Candidate:
        own = plan
        if scheme is QuantizationScheme.MIXED_INTEGER:
            own = replace(plan, float_layers=_rank(quantizer, plan)[:float_layers])
        how = _describe(own) if scheme in INTEGER_SCHEMES else {}
        return Candidate(quantizer.make(scheme, own), scheme, how)

    return Rung(scheme.value, make)


def _rank(quantizer: Quantizer, plan: IntegerPlan) -> tuple[str, ...]:
    from edgegender.conversion.mixed import rank_layers

    note("looking for the layers that lose most …")
    with progress("layers") as update:
        return rank_layers(quantizer, plan, on_progress=update)


def qat_rung(source: Source, training: Training, plan: IntegerPlan) -> Rung:
    """Returns training with simulated rounding as a way."""
    from edgegender.conversion.convert import Candidate
    from edgegender.conversion.ladder import Rung
    from edgegender.conversion.twin_process import train_quantized

    def make() -> Candidate:
        with _steps("training with simulated rounding") as on_step:
            twin = train_quantized(
                source.model,
                training.batches(),
                scaling=source.preprocessing.scaling,
                io_type=plan.io_type,
                on_step=on_step,
                **training.options,
            )
        how = {"rung": "qat", **training.options, "per_channel": True, "io_type": plan.io_type}
        return Candidate(twin.content, QuantizationScheme.FULL_INTEGER, how)

    return Rung("qat", make)


def ladder_rungs(
    source: Source, quantizer: Quantizer, training: Training, plan: IntegerPlan, *, is_mixed_allowed: bool
) -> Sequence[Rung]:
    """Returns the ladder: plain quantization, calibrated ranges, mixed precision, training.

    Args:
        source: The float network.
        quantizer: Of the same network.
        training: For the last rung.
        plan: What all rungs keep: scales per channel or tensor, types of input and output.
        is_mixed_allowed: Whether some layers may stay float32; an accelerator for integers has no use for these.
    """
    from edgegender.conversion.convert import Candidate
    from edgegender.conversion.ladder import Rung

    plain = replace(plan, ranges="min_max", is_bias_corrected=False)
    ranked: list[tuple[str, ...]] = []

    def integer(name: str, own: IntegerPlan) -> Rung:
        return Rung(name, lambda: Candidate(quantizer.integer(own), own.scheme, {"rung": name, **_describe(own)}))

    def mixed(count: int) -> Rung:
        name = f"mixed, {count} float layers"

        def make() -> Candidate:
            if not ranked:
                ranked.append(_rank(quantizer, plain))
            own = replace(plan, ranges="mse", is_bias_corrected=True, float_layers=ranked[0][:count])
            return Candidate(quantizer.integer(own), own.scheme, {"rung": name, **_describe(own)})

        return Rung(name, make)

    return [
        integer("plain", plain),
        integer("biases corrected", replace(plain, is_bias_corrected=True)),
        integer("ranges mse, biases corrected", replace(plain, ranges="mse", is_bias_corrected=True)),
        *(mixed(count) for count in (_FLOAT_LAYERS_TRIED if is_mixed_allowed else ())),
        qat_rung(source, training, plan),
    ]


def compress(
    source: Source, training: Training, *, sparsity: float | None, num_clusters: int | None
) -> tuple[keras.Model, dict[str, object]]:
    """Returns a pruned or clustered copy of the network, and what was done; the network itself without either.

    Raises:
        UsageError: Both are asked for, or a value is out of its range.
    """
    from edgegender.conversion.twin_process import train_clustered, train_pruned

    if sparsity is None and num_clusters is None:
        return source.model, {}
    if sparsity is not None and num_clusters is not None:
        raise UsageError("Expected --prune or --cluster, got both.", hint="Clustering would fill the zeros again.")
    if sparsity is not None:
        with _steps("pruning") as on_step:
            twin = train_pruned(
                source.model, training.batches(), sparsity=sparsity, on_step=on_step, **training.options
            )
        shares = twin.sparsity.values()
        how: dict[str, object] = {
            "sparsity": sparsity,
            "least_sparsity_of_a_kernel": round(min(shares), 4),
            **training.options,
        }
    else:
        with _steps("clustering") as on_step:
            twin = train_clustered(
                source.model,
                training.batches(),
                num_clusters=int(num_clusters or 0),
                on_step=on_step,
                **training.options,
            )
        how = {"num_clusters": num_clusters, **training.options}
    import keras

    copy = keras.models.clone_model(source.model)
    copy.set_weights(list(twin.weights))
    return copy, how
