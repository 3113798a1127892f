"""One run in several processes, each with a device: what they share out, and what they agree on.

Every process draws the batch of the one-device run and takes its share of the rows. The loss is a sum over a
constant, so the gradients of the shares add up to that of the batch: they are summed over the processes, not
averaged. All evaluate all validation rows, and so have the same figures and the same bits; the first process
alone writes what is written once. torchrun starts them and says who is who (RANK, LOCAL_RANK, WORLD_SIZE).
"""

import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from scalelaw.contracts import BadInput, Batch
from scalelaw.models.base import LanguageModel

Objective = Callable[[Batch], Tensor]
"""Summed NLL of this process's rows; its gradient is that of all processes' rows."""


class Parallel(ABC):
    rank: int = 0
    world: int = 1

    @property
    @abstractmethod
    def part(self) -> tuple[int, int] | None:
        """Which file of how many this process writes of a checkpoint; None: none."""

    @abstractmethod
    def joined(self, device: str) -> AbstractContextManager[None]:
        """Inside, the processes know each other. Raises BadInput where they were not started as must be."""

    @abstractmethod
    def place(self, model: LanguageModel, device: str) -> LanguageModel:
        """The model, or this process's part of it, on its device."""

    @abstractmethod
    def objective(self, model: LanguageModel) -> Objective:
        """What `Step` takes the gradient of, once its parts are compiled."""

    @abstractmethod
    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes."""

    @abstractmethod
    def largest(self, *values: int) -> list[int]:
        """The largest of all processes' values, one by one: how they agree on a flag."""

    @abstractmethod
    def told(self, value: Any) -> Any:
        """The first process's value, in all of them."""

    def check(self, rows: int) -> None:
        """Raises BadInput for rows that cannot be shared out evenly."""
        if rows % self.world:
            raise BadInput(f"rows={rows} cannot be shared by {self.world} processes: say a multiple of that")

    def share(self, batch: Batch) -> Batch:
        """This process's rows. Where they begin to predict and how far prefixes reach stays that of the whole
        batch, so that a row costs and computes what it does in a run on one device."""
        if self.world == 1:
            return batch
        mine = slice(*(len(batch.tokens) * rank // self.world for rank in (self.rank, self.rank + 1)))
        segments = None if batch.segments is None else batch.segments[mine]
        rows = {name: getattr(batch, name)[mine] for name in ("tokens", "labels", "prefix")}
        return replace(batch, **rows, segments=segments)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What goes wrong in here in one process ends in an error in all, instead of a wait without end."""
        try:
            yield
        except Exception:
            self.largest(True)
            raise
        if self.largest(False) != [False]:
            raise BadInput("another process of this run could not go on: its own error says why")

    def same(self, step: int) -> None:
        """Raises BadInput where the processes would not go on from one step."""
        last, first = self.largest(step, -step)
        if last != -first:
            raise BadInput(f"processes of one run at steps {-first} and {last}: do they share its folder?")


class Alone(Parallel):
    """One process, one device."""

    @property
    def part(self) -> tuple[int, int]:
        return 0, 1

    def joined(self, device: str) -> AbstractContextManager[None]:
        if dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1:
            raise BadInput("torchrun started several processes: say parallel=ddp or parallel=fsdp")
        return nullcontext()

    def place(self, model: LanguageModel, device: str) -> LanguageModel:
        return model.to(device)

    def objective(self, model: LanguageModel) -> Objective:
        return model.nll

    def total(self, value: Tensor) -> Tensor:
        return value

    def largest(self, *values: int) -> list[int]:
        return list(values)

    def told(self, value: Any) -> Any:
        return value


ALONE = Alone()


class Processes(Parallel):
    """What DDP and FSDP have in common."""

    @contextmanager
    def joined(self, device: str) -> Iterator[None]:
        name = type(self).__name__.lower()
        if not dist.is_torchelastic_launched():
            raise BadInput(
                f"parallel={name} takes torchrun: "
                f"torchrun --standalone --nproc_per_node=2 -m experiments.train parallel={name} ..."
            )
        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        _take_device(device, int(os.environ["LOCAL_RANK"]))
        if dist.is_initialized():  # several runs one after the other in the same processes
            yield
            return
        threading.Thread(target=_follow_parent, daemon=True).start()
        # What is agreed on lies on the CPU in any case, so that no device has to be waited for.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "cpu:gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()

    def total(self, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    def largest(self, *values: int) -> list[int]:
        agreed = torch.tensor(values)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return agreed.tolist()

    def told(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


class DDP(Processes):
    """torch's DistributedDataParallel: every process has the whole model (Li et al. 2020)."""

    @property
    def part(self) -> tuple[int, int] | None:
        return (0, 1) if self.rank == 0 else None

    def place(self, model: LanguageModel, device: str) -> LanguageModel:
        return model.to(device)

    def objective(self, model: LanguageModel) -> Objective:
        whole = nn.parallel.DistributedDataParallel(_NLL(model), gradient_as_bucket_view=True)
        whole.register_comm_hook(None, _summed)
        # After its first pass DDP puts the gradients into other buckets, in the order in which they came.
        # With three processes or more the place in a bucket decides in which order a gradient is summed:
        # without a pass that is thrown away, a resumed run would take its first step with other roundings.
        ordered = False

        def nll(batch: Batch) -> Tensor:
            nonlocal ordered
            if not ordered:
                whole(batch).backward()
                model.zero_grad()
                ordered = True
            return whole(batch)

        return nll


class FSDP(Processes):
    """torch's `fully_shard`: parameters, gradients and optimizer state are cut along their first dimension,
    and put together a block at a time where they are needed (Zhao et al. 2023; ZeRO-3, Rajbhandari 2020)."""

    @property
    def part(self) -> tuple[int, int] | None:
        return self.rank, self.world

    def place(self, model: LanguageModel, device: str) -> LanguageModel:
        """From the CPU a block at a time: no device ever holds the whole model."""
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(torch.device(device).type, (self.world,))
        for module in (*model.blocks(), model):
            # The outermost module, too, gives its parameters back after each pass: evaluation has no backward
            # pass to do it, and optimizer and checkpoint must find them cut.
            sharded = fully_shard(module, mesh=mesh, reshard_after_forward=True)
            assert isinstance(sharded, FSDPModule)
            sharded.set_gradient_divide_factor(1.0)  # a sum
            sharded.set_force_sum_reduction_for_comms(True)  # gloo has no other
        register_fsdp_forward_method(model, "nll")
        return model

    def objective(self, model: LanguageModel) -> Objective:
        return model.nll


class _NLL(nn.Module):
    """DDP watches a module's `forward`."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return self.model.nll(batch)


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The global norm of their gradients, (); where they are cut, its sum over the processes is to come."""
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def uncut(value: Tensor) -> Tensor:
    """A value that may be cut, or a sum to come, in whole."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def spawn(processes: int, function: Callable[..., Any], *arguments: Any) -> None:
    """Call `function(*arguments)` in so many processes of this machine under torchrun's agent; wait for them.

    What a launcher does for a job of several devices. Function and arguments have to be picklable. SIGTERM
    and SIGINT are passed on. Raises torch's ChildFailedError when a process fails, its SignalException when a
    signal came.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    elastic_launch(config, function)(*arguments)


def _summed(state: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # pyright: ignore[reportPrivateImportUsage]
    """DDP's hook for a bucket of gradients; its own would average."""
    work: Any = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def _take_device(device: str, local: int) -> None:
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return
    if number:
        raise BadInput(f"device={device} with several processes: say device=cuda, and each takes its own")
    if local >= torch.cuda.device_count():
        raise BadInput(f"more processes than the {torch.cuda.device_count()} GPUs of this machine")
    torch.cuda.set_device(local)


def _follow_parent() -> None:
    """torchrun stops its processes when it is stopped; when it is killed, they stop themselves."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
