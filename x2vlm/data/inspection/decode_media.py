"""Decode the image, images, video or clips of a record, whatever it has."""

from typing import Any

from x2vlm.data.record import Record, RecordError
from x2vlm.data.transforms.images.load_crop_flip import LoadImage
from x2vlm.data.transforms.sample_frames import SampleFrames


class DecodeMedia:
    """A transform that decodes the images of a record, or a few frames of its video or clips, into ``frames``.

    Args:
        num_frames: Frames of a video.
        reader: The video reader.
    """

    def __init__(self, num_frames: int = 3, reader: dict | Any = dict(type="DecordReader")) -> None:  # noqa: B006
        self.image = LoadImage()
        self.video = SampleFrames(num_frames, training=False, reader=reader)

    def __call__(self, record: Record) -> Record:
        """Add ``frames``; a record without image or video stays as it is.

        Raises:
            RecordError: If it cannot be decoded; ``where`` is that of the record.
        """
        is_image = "image" in record or record.get("images")
        if not is_image and "video" not in record and not record.get("clips"):
            return record
        try:
            return self.image(record) if is_image else self.video(record)
        except RecordError as error:  # that of a video reader names the file
            raise error if error.where == record["where"] else RecordError(record["where"], str(error)) from error
