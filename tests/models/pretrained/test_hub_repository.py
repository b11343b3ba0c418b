"""Model folders on the Hugging Face hub, without a network: what is sent to it."""

import huggingface_hub

from tests.models.conftest import tiny_model


class Hub:
    """Takes what would be uploaded."""

    def __init__(self, token=None):
        Hub.token, Hub.files = token, {}

    def create_repo(self, repo_id, private, exist_ok):
        Hub.private = private
        return type("Repo", (), {"repo_id": repo_id, "__str__": lambda self: f"https://hub/{repo_id}"})()

    def upload_folder(self, repo_id, folder_path):
        Hub.files = {file.name: file.stat().st_size for file in folder_path.iterdir()}


def test_a_pushed_model_is_a_whole_folder_in_its_repository(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    address = tiny_model().push_to_hub("someone/tiny", private=True, token="secret")
    assert address == "https://hub/someone/tiny"
    assert (Hub.private, Hub.token) == (True, "secret")
    assert {"config.json", "model.safetensors", "README.md"} <= Hub.files.keys()
