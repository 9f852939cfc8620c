"""The TFRecord file format and the `tf.train.Example` message, implemented without TensorFlow.

References:
    tensorflow/core/lib/io/record_writer.h: a record is its length (uint64), the masked CRC-32C of the length, the data
    and the masked CRC-32C of the data, all little-endian. tensorflow/core/example/{example,feature}.proto.
"""

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from landmarks.errors import ArtifactError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_LENGTH_BYTES = _LENGTH.size + _CRC.size  # the length and its checksum
_REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_OPTIONAL = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL


def frame_record(data: bytes) -> bytes:
    """Return one record as it is stored in a TFRecord file."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _mask_crc(length), data, _mask_crc(data)))


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file and verify their checksums.

    Raises:
        ArtifactError: the file is missing, damaged or incomplete.
    """
    try:
        with path.open("rb") as stream:
            left = path.stat().st_size
            while left:
                record = _read_record(stream, left, path)
                left -= len(record) + _LENGTH_BYTES + _CRC.size
                yield record
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run `dvc repro prepare`.") from None


def _read_record(stream: BinaryIO, left: int, path: Path) -> bytes:
    head = stream.read(_LENGTH_BYTES)
    if len(head) == _LENGTH_BYTES and _mask_crc(head[: _LENGTH.size]) == head[_LENGTH.size :]:
        length = _LENGTH.unpack(head[: _LENGTH.size])[0]
        # Without this check, a crafted length could ask for exabytes of memory.
        if length <= left - _LENGTH_BYTES - _CRC.size:
            data = stream.read(length)
            if _mask_crc(data) == stream.read(_CRC.size):
                return data
    raise ArtifactError(f"{path} is damaged or incomplete. Delete it and run `dvc repro prepare`.")


def _mask_crc(data: bytes) -> bytes:
    # TensorFlow rotates and offsets the CRC, because a CRC of data that contains CRCs is weak.
    crc = google_crc32c.value(data)
    return _CRC.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def get_example_class() -> Any:
    """Build the message class `tf.train.Example`."""
    file = descriptor_pb2.FileDescriptorProto(name="landmarks/example.proto", package="tensorflow", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    kinds = (("bytes", field.TYPE_BYTES), ("float", field.TYPE_FLOAT), ("int64", field.TYPE_INT64))
    for number, (name, kind) in enumerate(kinds, start=1):
        file.message_type.add(name=f"{name.title()}List").field.add(name="value", number=1, label=_REPEATED, type=kind)
        _add_message_field(feature, f"{name}_list", number, f"{name.title()}List")
        feature.field[-1].oneof_index = 0
    # A map<string, Feature> is a repeated message with key and value on the wire.
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_OPTIONAL, type=field.TYPE_STRING)
    _add_message_field(entry, "value", 2, "Feature")
    _add_message_field(features, "feature", 1, "Features.FeatureEntry", _REPEATED)
    _add_message_field(file.message_type.add(name="Example"), "features", 1, "Features")
    # A separate pool: TensorFlow registers the same message name in the default one.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _add_message_field(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: str,
    label: descriptor_pb2.FieldDescriptorProto.Label.ValueType = _OPTIONAL,
) -> None:
    message.field.add(
        name=name,
        number=number,
        label=label,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
        type_name=f".tensorflow.{kind}",
    )
