"""PartMemory: a ring of the last images, the same in all processes and after a resume."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from drop.losses import PartCompactnessTriplet, PartMemory

from mdpr_fastreid.modeling.all_processes import with_all_rows


def batch(first, count, parts=2, dim=3):
    """Images ``first``, ``first + 1`` and so on; the number of an image is in all that is stored of it."""
    numbers = torch.arange(first, first + count)
    return (
        numbers[:, None, None].expand(count, parts, dim).float(),
        numbers,
        (numbers[:, None] % 2 == torch.arange(parts) % 2),
    )


def in_order(memory):
    """Stored identities, the oldest first."""
    return memory.targets.roll(-memory.position.item()).tolist()


@pytest.mark.parametrize("size", [0, 1, 4, 5, 6, 7, 20])
@pytest.mark.parametrize("counts", [[4] * 6, [1, 7, 3, 12, 2]])
def test_it_holds_the_last_images_in_order(size, counts):
    memory, first = PartMemory(size, 2, 3), 0
    for count in counts:
        memory.store(*batch(first, count))
        first += count
        stored = min(size, first)
        assert in_order(memory) == [-1] * (size - stored) + list(range(first - stored, first))
        parts, _, visibility = batch(0, first)
        written = memory.targets >= 0
        assert torch.equal(memory.parts[written], parts[memory.targets[written]])
        assert torch.equal(memory.visibility[written], visibility[memory.targets[written]].float())


def test_entries_never_written_are_compared_with_nothing():
    parts, targets = torch.randn(4, 2, 3).double(), torch.tensor([0, 0, 1, 1])
    loss = PartCompactnessTriplet(bank_for="both")
    for visibility in (None, torch.tensor([[1, 0], [1, 1], [0, 1], [1, 1]])):
        assert loss(parts, targets, visibility, PartMemory(6, 2, 3)) == loss(parts, targets, visibility)


def test_a_step_can_be_stored_before_its_backward_pass():
    memory = PartMemory(3, 2, 3)
    memory.store(*batch(0, 3))
    gradients = []
    for store in (False, True):
        parts = torch.linspace(0, 1, 24).view(4, 2, 3).square().requires_grad_()
        targets = torch.tensor([5, 5, 6, 6])
        value = PartCompactnessTriplet(margin=5.0)(parts, targets, None, memory)
        if store:
            memory.store(parts, targets)
        value.backward()
        gradients.append(parts.grad)
    assert torch.equal(*gradients)
    assert not memory.parts.requires_grad


def test_it_goes_on_after_a_resume_as_if_nothing_had_been(tmp_path):
    whole, first = PartMemory(5, 2, 3), PartMemory(5, 2, 3)
    for memory in (whole, first):
        memory.store(*batch(0, 4))
        memory.store(*batch(4, 4))
    torch.save(first.state_dict(), tmp_path / "memory.pth")
    resumed = PartMemory(5, 2, 3)
    resumed.load_state_dict(torch.load(tmp_path / "memory.pth"))
    for memory in (whole, resumed):
        memory.store(*batch(8, 3))
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_half_precision_is_stored_in_full_and_all_is_visible_by_default():
    memory = PartMemory(4, 2, 3)
    memory.store(torch.ones(2, 2, 3, dtype=torch.float16), torch.tensor([1, 2], dtype=torch.int32))
    assert memory.parts.dtype == torch.float32
    assert memory.visibility.sum(dim=1).tolist() == [2, 2, 0, 0]


def _process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    memory = PartMemory(7, 2, 3)
    for step in range(2):
        memory.store(*batch(step * 4 + rank * 2, 2))
    with with_all_rows():
        memory.store(*batch(8, 4))
    torch.save(memory.state_dict(), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_all_processes_hold_the_batches_of_all(tmp_path):
    multiprocessing.start_processes(_process, (str(tmp_path),), nprocs=2, start_method="fork")
    one, other = (torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    alone = PartMemory(7, 2, 3)
    for step in range(3):
        alone.store(*batch(step * 4, 4))
    assert all(torch.equal(one[name], value) for name, value in alone.state_dict().items())
