//! The globals that a pickle of weights may name, and what each stands for here. It is the whole list: a name that is
//! not on it ends the reading. Nothing on it is ever imported or called; each is only a word that the machine knows.

use crate::strided::Dtype;

/// What a global stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// A class that makes a dictionary; its attributes and its default are of no interest.
    Dict,
    /// `collections.defaultdict`, whose first argument is a type.
    DefaultDict,
    /// `torch.Size`: the tuple that it is given.
    Size,
    /// A builtin type that only ever stands as an argument.
    BuiltinType,
    /// Something that is made of plain values and holds no weight.
    Opaque(&'static str),
    /// `torch.Tensor`, `torch.nn.Parameter`: types of a rebuilt tensor.
    TensorType,
    /// The element type of a storage; `None` for storages of plain bytes.
    Storage(Option<Dtype>),
    /// The element type of a tensor.
    Dtype(Dtype),
    /// A function that makes a tensor of a storage.
    Tensor(Rebuild),
}

/// Functions of torch that make tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuild {
    /// `(storage, offset, size, stride, ...)`, with the element type of the storage.
    Typed,
    /// The same of a storage of bytes, with the element type as the seventh argument.
    Untyped,
    /// `(tensor, ...)`.
    Parameter,
    /// `(function, type, arguments, state)`.
    FromType,
}

/// A global by its module and name.
pub(super) fn find(module: &str, name: &str) -> Option<Global> {
    use Rebuild as R;
    Some(match (module, name) {
        ("collections", "OrderedDict" | "Counter") => Global::Dict,
        ("collections", "defaultdict") => Global::DefaultDict,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Opaque("a device"),
        ("torch.serialization", "_get_layout") => Global::Opaque("a layout"),
        ("torch", "Tensor") | ("torch.nn.parameter", "Parameter" | "Buffer") => Global::TensorType,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Tensor(R::Typed),
        ("torch._utils", "_rebuild_tensor_v3") => Global::Tensor(R::Untyped),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::Tensor(R::Parameter),
        ("torch._tensor", "_rebuild_from_type_v2") => Global::Tensor(R::FromType),
        // Protocol 2 has no bytes: it spells them as text, to be encoded as Latin-1.
        ("_codecs", "encode") => Global::Opaque("bytes"),
        ("numpy", "dtype") => Global::Opaque("an element type of NumPy"),
        ("numpy", "ndarray") => Global::BuiltinType,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::Opaque("a number of NumPy"),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Global::Opaque(NUMPY_ARRAY),
        ("builtins" | "__builtin__", "set" | "frozenset" | "bytearray" | "complex") => {
            Global::Opaque("a builtin value")
        }
        ("builtins" | "__builtin__", "int" | "long" | "float" | "bool" | "str" | "unicode" | "bytes") => {
            Global::BuiltinType
        }
        ("builtins" | "__builtin__", "list" | "dict" | "tuple") => Global::BuiltinType,
        ("torch" | "torch.cuda", name) if name.ends_with("Storage") => Global::Storage(Some(storage(name)?)),
        ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Global::Storage(None),
        ("torch", name) => Global::Dtype(dtype(name)?),
        _ => return None,
    })
}

/// What an array of NumPy inside a pickle is called.
pub(super) const NUMPY_ARRAY: &str = "an array of NumPy";

/// Storages by the name of their class.
fn storage(name: &str) -> Option<Dtype> {
    dtype(match name {
        "FloatStorage" => "float32",
        "HalfStorage" => "float16",
        "BFloat16Storage" => "bfloat16",
        "DoubleStorage" => "float64",
        "LongStorage" => "int64",
        "IntStorage" => "int32",
        "ShortStorage" => "int16",
        "CharStorage" => "int8",
        "ByteStorage" => "uint8",
        "BoolStorage" => "bool",
        "ComplexFloatStorage" => "complex64",
        "ComplexDoubleStorage" => "complex128",
        _ => return None,
    })
}

/// Element types by the name that torch and NumPy give them; as safetensors calls them.
pub(crate) fn dtype(name: &str) -> Option<Dtype> {
    let (name, bytes) = match name {
        "float32" => ("F32", 4),
        "float16" => ("F16", 2),
        "bfloat16" => ("BF16", 2),
        "float64" => ("F64", 8),
        "int64" => ("I64", 8),
        "int32" => ("I32", 4),
        "int16" => ("I16", 2),
        "int8" => ("I8", 1),
        "uint64" => ("U64", 8),
        "uint32" => ("U32", 4),
        "uint16" => ("U16", 2),
        "uint8" => ("U8", 1),
        "bool" => ("BOOL", 1),
        "complex64" => ("C64", 8),
        "complex128" => ("C128", 16),
        "float8_e4m3fn" => ("F8_E4M3", 1),
        "float8_e5m2" => ("F8_E5M2", 1),
        "float8_e8m0fnu" => ("F8_E8M0", 1),
        _ => return None,
    };
    Some(Dtype { name, bytes })
}
