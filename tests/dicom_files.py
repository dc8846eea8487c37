"""DICOM photographs made of generated images, as cameras and archives write them."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from mbdcnn.data.synthetic import draw

NAME, PATIENT, BORN = "Nachname^Vorname", "PATIENT-4711", "19510203"
"""Of a patient that must appear nowhere but in DICOM files of the same study."""


def lesion(width: int = 60, height: int = 44, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Draw a generated image, h w 3."""
    return np.asarray(draw(np.random.default_rng(seed), "nevus", (width, height))[0])


def header(kind: str = uid.DermoscopicPhotographyImageStorage) -> Dataset:
    """Make the header of a photograph, but for what tells of the pixels."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, uid.generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    dataset.PatientName, dataset.PatientID = NAME, PATIENT
    dataset.PatientBirthDate, dataset.PatientSex = BORN, "O"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240102", "101112", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "A99", "Arzt^Anna"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "DMS", 1, 1
    dataset.Manufacturer = "Camera"
    return dataset


def photograph(
    pixels: npt.NDArray[np.unsignedinteger],
    colours: str = "RGB",
    syntax: str = uid.ExplicitVRLittleEndian,
    frame: bytes | None = None,
    kind: str = uid.DermoscopicPhotographyImageStorage,
    **elements: object,
) -> bytes:
    """Write a DICOM file.

    Args:
        pixels: h w or h w 3; stored as they are unless `frame` is given.
        colours: the photometric interpretation.
        syntax: the transfer syntax.
        frame: the compressed pixels.
        kind: the SOP class.
        elements: further elements of the header, by keyword.
    """
    dataset = header(kind)
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = colours
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes() if frame is None else encapsulate([frame])
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 or frame is not None else "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return written(dataset, syntax)


def written(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """Encode a data set as a file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def saved(pixels: npt.NDArray[np.unsignedinteger], format_name: str, **options: object) -> bytes:
    """Compress pixels by Pillow."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format_name, **options)
    return stream.getvalue()


def unmarked_rgb(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Compress to a JPEG of RGB that only its DICOM header knows to be RGB."""
    content = bytearray(saved(pixels, "JPEG", keep_rgb=True, quality=95))
    adobe = content.index(b"\xff\xee")
    del content[adobe : adobe + 2 + struct.unpack(">H", content[adobe + 2 : adobe + 4])[0]]
    sizes, scan = content.index(b"\xff\xc0") + 10, content.index(b"\xff\xda") + 5
    for number in range(3):
        content[sizes + 3 * number] = content[scan + 2 * number] = number + 1
    return bytes(content)


def run_lengths(pixels: npt.NDArray[np.unsignedinteger]) -> bytes:
    """Compress by DICOM's RLE, with runs where a row repeats a byte."""
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    planes = np.moveaxis(channels, -1, 0).astype(channels.dtype.newbyteorder(">"))
    stacked = planes.view(np.uint8).reshape(*planes.shape, -1)
    segments = [_packed(plane[..., byte]) for plane in stacked for byte in range(stacked.shape[-1])]
    starts = 64 + np.cumsum([0, *map(len, segments[:-1])])
    return struct.pack("<16I", len(segments), *starts, *[0] * (15 - len(segments))) + b"".join(segments)


def _packed(plane: npt.NDArray[np.uint8]) -> bytes:
    segment = bytearray()
    for row in plane:
        if (row == row[0]).all() and len(row) <= 128:
            segment += bytes([257 - len(row), row[0]])
            continue
        for start in range(0, len(row), 128):
            part = row[start : start + 128]
            segment += bytes([len(part) - 1]) + part.tobytes()
    return bytes(segment + b"\0" * (len(segment) % 2))


def palette(colours: npt.NDArray[np.uint8], first: int = 0, bits: int = 8) -> dict[str, object]:
    """Make the elements of a palette, n 3."""
    elements: dict[str, object] = {}
    for name, values in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        stored = values if bits == 8 else values.astype("<u2") << 8
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours), first, bits]
        elements[f"{name}PaletteColorLookupTableData"] = stored.tobytes()
    return elements
