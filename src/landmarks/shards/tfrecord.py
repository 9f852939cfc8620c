"""The TFRecord file format and the `tf.train.Example` message, without TensorFlow.

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
_LENGTH_BYTES = _LENGTH.size + _CRC.size
_REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_OPTIONAL = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL


def frame_record(data: bytes) -> bytes:
    """One record as it stands in a TFRecord file."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _mask_crc(length), data, _mask_crc(data)))


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, their checksums verified.

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
        if length <= left - _LENGTH_BYTES - _CRC.size:
            data = stream.read(length)
            if _mask_crc(data) == stream.read(_CRC.size):
                return data
    raise ArtifactError(f"{path} is damaged or incomplete. Delete it and run `dvc repro prepare`.")


def _mask_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CRC.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def get_example_class() -> Any:
    """The message class `tf.train.Example`, in a pool of its own: TensorFlow registers the same name in the default."""
    file = descriptor_pb2.FileDescriptorProto(name="landmarks/example.proto", package="tensorflow", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(name="value", number=1, label=_REPEATED, type=kind)
    _add_feature(file)
    _add_features(file)
    example = file.message_type.add(name="Example")
    _add_message_field(example, "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _add_feature(file: descriptor_pb2.FileDescriptorProto) -> None:
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), start=1
    ):
        _add_message_field(feature, name, number, kind)
        feature.field[-1].oneof_index = 0


def _add_features(file: descriptor_pb2.FileDescriptorProto) -> None:
    """The map<string, Feature>: on the wire a repeated message with key and value."""
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    text = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    entry.field.add(name="key", number=1, label=_OPTIONAL, type=text)
    _add_message_field(entry, "value", 2, "Feature")
    _add_message_field(features, "feature", 1, "Features.FeatureEntry", _REPEATED)


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
