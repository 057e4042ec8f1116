"""Embeds a folder of images, goes on where it was stopped, and shares the work among processes."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from mdpr_fastreid.data.reading import read_image
from mdpr_fastreid.embedding.batches import batches_of
from mdpr_fastreid.embedding.chunks import LOCK, Chunk, Chunks, Share
from mdpr_fastreid.embedding.embeddings import KNOWN, Embeddings, write_embeddings
from mdpr_fastreid.embedding.facts import FolderImages
from mdpr_fastreid.embedding.model_id import ModelId
from mdpr_fastreid.embedding.networks import EmbeddingNetwork
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import need_place
from mdpr_fastreid.progress import Progress


def embed_images(
    network: EmbeddingNetwork, images: FolderImages, chunks: Chunks, batch_size: int, workers: int, share: Share
) -> None:
    """Embed what is not embedded yet, of this process's share.

    Args:
        network: gives one vector of an image.
        images: to embed.
        chunks: where they go; started.
        batch_size: images at a time.
        workers: threads that read.
        share: of this process.

    Raises:
        UsageError: the network gives several outputs, or the place cannot be written.
    """
    todo = chunks.todo(share)
    mine = sum(len(chunks.rows(number)) for number in todo)
    with closing(Progress(mine, "embedding", delay=1.0)) as progress:
        for number in todo:
            chunks.write(number, _embedded(network, images, chunks.rows(number), batch_size, workers, progress))


def _embedded(
    network: EmbeddingNetwork, images: FolderImages, rows: range, batch_size: int, workers: int, progress: Progress
) -> Chunk:
    reads = (partial(read_image, images.path(row)) for row in rows)
    read, damaged, vectors = [], [], []
    for number, (pixels, broken) in enumerate(batches_of(reads, network.resize, batch_size, workers)):
        batch = rows[number * batch_size : (number + 1) * batch_size]
        reasons = {batch[place]: str(error) for place, error in broken}
        damaged += reasons.items()
        read += [row for row in batch if row not in reasons]
        if pixels is not None:
            vectors.append(_one_vector(network, pixels))
        progress.step(steps=len(batch))
    joined = np.concatenate(vectors) if vectors else np.empty((0, network.model_id.dim), np.float32)
    return Chunk(np.array(read, np.int64), joined, damaged)


def _one_vector(network: EmbeddingNetwork, pixels: torch.Tensor) -> np.ndarray:
    outputs = network(pixels)
    if isinstance(outputs, dict):
        raise UsageError(
            f"the model gives several outputs of an image ({', '.join(outputs)}), which are compared by a distance of "
            "its own; a file of embeddings has one vector of each image. ReID.embed and ReID.rank take such a model"
        )
    return outputs.numpy()


def found_in(chunks: Chunks, images: FolderImages, model: ModelId) -> tuple[Embeddings, list[str]]:
    """What finished chunks hold, but for the vectors, of which there is a stand-in that takes no memory.

    Returns:
        All that is known of the images that could be read, and a line for each file that could not be.

    Raises:
        UsageError: a chunk is damaged.
    """
    rows, damaged = [np.empty(0, np.int64)], []
    for chunk in chunks.read():
        rows.append(chunk.rows)
        damaged += [why for _, why in chunk.damaged]
    found = images.rows(np.concatenate(rows))
    stand_in = np.broadcast_to(np.float32(0), (len(found), model.dim))
    known = (found.names, found.cameras, found.times, found.identities)
    return Embeddings(stand_in, *known, model, images.root), damaged


def write_file(chunks: Chunks, found: Embeddings, output: Path, earlier: Embeddings | None) -> int:
    """Make the ``.npz`` file of finished chunks, after the embeddings that it had before.

    Args:
        chunks: with the vectors.
        found: what is known of their images.
        output: the file.
        earlier: what it holds already.

    Returns:
        The number of embeddings in the file.

    Raises:
        UsageError: the place cannot be written, or a chunk is damaged.
    """
    parts = [found] if earlier is None else [earlier, found]
    known = {name: np.concatenate([getattr(part, name) for part in parts]) for name in KNOWN}
    stand_in = np.broadcast_to(np.float32(0), (sum(map(len, parts)), found.model.dim))
    before = [] if earlier is None else [earlier.vectors]
    vectors = chain(before, (chunk.vectors for chunk in chunks.read()))
    write_embeddings(output, Embeddings(stand_in, **known, model=found.model, root=found.root), vectors)
    return len(stand_in)


@contextmanager
def only_one(output: Path, share: Share) -> Iterator[Path]:
    """The folder of chunks of an output, while no other command may write there; one command's processes share it.

    Raises:
        UsageError: another command writes to the same output, or the place cannot be written.
    """
    folder = Path(f"{output.absolute()}.partial")
    if share.rank:
        yield folder
        return
    need_place(folder / LOCK)
    lock = FileLock(folder / LOCK, timeout=0)  # the system frees it when the process ends, however it ends
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"another `mdpr embed` writes to {output}: wait for it, or give another output") from None
    try:
        yield folder
    finally:
        lock.release()
        if folder.exists() and [path.name for path in folder.iterdir()] == [LOCK]:  # nothing to go on with
            shutil.rmtree(folder, ignore_errors=True)
