"""A machine that cannot download anything."""

from pathlib import Path

import pytest
import torch


def go_offline(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """Let torch have its cache in this folder, which is returned, and no network."""

    def refuse(url, *args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return home
