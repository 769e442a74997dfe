"""Which function of PyTorch is which, by the names that it has in one or several of PyTorch's modules."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from samebits import optimizers
from torch.nn import functional
from torch.overrides import resolve_name

Call = Callable[..., Any]
SWITCHED = SimpleNamespace(**optimizers.SWITCHED)
MODULES = torch, torch.Tensor, functional, torch._C._nn, torch.linalg, torch.special, torch.nn.init, SWITCHED


def named(names: str) -> set[Call]:
    """The functions of these names."""
    found = {getattr(module, name, None) for name in names.split() for module in MODULES}
    return {function for function in found if callable(function)}


def name_of(function: Call) -> str:
    """As a user would write it."""
    return resolve_name(function) or getattr(function, "__name__", str(function))


# They move numbers, or make some, and so do their gradients.
MOVE = (
    "view view_as reshape reshape_as flatten unflatten squeeze unsqueeze t transpose permute movedim moveaxis "
    "swapaxes swapdims chunk split split_with_sizes unbind tensor_split narrow select contiguous clone detach detach_ "
    "flip fliplr flipud roll requires_grad_ retain_grad cat concat concatenate stack hstack vstack dstack "
    "column_stack zero_ zeros_like ones_like hsplit vsplit dsplit ravel diag diag_embed diagflat byte char short half "
    "bfloat16 full_like empty_like new_zeros new_ones new_full new_tensor new_empty new zeros ones full empty eye "
    "tensor as_tensor scalar_tensor from_numpy asarray to type type_as float double int long bool cpu cuda tolist "
    "item numpy numel nelement size dim ndimension stride is_floating_point is_complex is_contiguous is_tensor "
    "is_same_size data_ptr element_size storage_offset untyped_storage storage _typed_storage resize_ set_ is_shared "
    "share_memory_ register_hook where argmax argmin amax amin aminmax tril triu diagonal masked_select rot90 "
    "resolve_conj resolve_neg is_inference is_signed pin_memory register_post_accumulate_grad_hook get_device "
    "manual_seed block_diag pixel_shuffle pixel_unshuffle triu_ tril_ _parse_to has_names "
    "_has_compatible_shallow_copy_type channel_shuffle squeeze_ unsqueeze_ triu_indices tril_indices _assert "
    "__array__ __len__ __repr__ __format__ _pack_padded_sequence _pad_packed_sequence pad_sequence positive __pos__ "
    "adjoint row_stack atleast_1d atleast_2d atleast_3d "
    "constant_ zeros_ ones_ __bool__ __float__ __int__ __index__ __hash__ __contains__ __deepcopy__ __reduce_ex__"
)
# Their results are whole numbers or truth values, and have no gradients.
COMPARE = (
    "eq ne lt le gt ge equal isfinite isnan isinf logical_and logical_or logical_not logical_xor __eq__ "
    "__ne__ __lt__ __le__ __gt__ __ge__ __and__ __or__ __xor__ __invert__ nonzero one_hot bitwise_and bitwise_or "
    "__iand__ __ior__ __ixor__ greater greater_equal less less_equal not_equal "
    "bitwise_not isin bucketize searchsorted signbit allclose isclose is_nonzero result_type can_cast promote_types"
)
# One IEEE 754 operation for each element, in the backward pass, too.
EACH = (
    "mul mul_ multiply neg neg_ negative abs abs_ absolute rsub maximum minimum clamp clamp_ clip clip_ clamp_min "
    "clamp_max clamp_min_ clamp_max_ add add_ sub sub_ subtract relu relu_ relu6 hardtanh hardtanh_ leaky_relu "
    "leaky_relu_ threshold where sign floor floor_ ceil ceil_ round round_ trunc trunc_ fmod softshrink hardshrink "
    "__radd__ __sub__ __rsub__ __mul__ __rmul__ __imul__ __neg__ __abs__ __add__ __iadd__ __isub__ nan_to_num "
    "copysign sgn frac fix"
)
# Right as they are, but their gradients would be sums.
LACK = "unique scatter_ scatter index_fill_ frexp cummax meshgrid"
# They put numbers in places, one of which may be stretched to several.
PUT = "copy_ fill_ masked_fill masked_fill_ __setitem__"
# What becomes of each element is where it is put, perhaps several times: the gradient is a sum over the places.
PICK = "index_select gather take take_along_dim repeat repeat_interleave tile unfold pad __getitem__"
# By the names of PyTorch's own table of operations, which the watch sees, without the _ of those in place.
EXECUTED = (
    "_unsafe_view _reshape_alias expand slice as_strided alias _to_copy empty_strided new_empty_strided arange "
    "lift_fresh lift_fresh_copy lift select_backward slice_backward constant_pad_nd index diagonal_copy "
    "diagonal_backward resize set _local_scalar_dense _unique2 sgn threshold_backward hardtanh_backward "
    "leaky_relu_backward div rand rand_like randint randperm random permute_copy max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool2d masked_scatter value_selecting_reduction_backward index_put "
    "softshrink_backward hardshrink_backward reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d "
    "broadcast_tensors replication_pad3d set_data _has_same_storage_numel unsqueeze_copy bincount cummin is_pinned "
    "record_stream split_copy native_channel_shuffle max min sort argsort any all "
    "_pack_padded_sequence_backward _efficientzerotensor"
)
RIGHT = {name.removesuffix("_") for name in f"{MOVE} {COMPARE} {EACH} {LACK} {PUT} {PICK} {EXECUTED}".split()}

ELEMENTWISE, ADD = named(EACH), named("add add_ sub sub_ subtract")
DIVIDE = named("div div_ divide true_divide __truediv__ __itruediv__")
WITHOUT_GRADIENT, PICKED, PUTS = named(LACK), named(PICK), named(PUT)
# Of one tensor a search; of two an operation for each element.
LARGEST = dict.fromkeys(named("max"), torch.maximum) | dict.fromkeys(named("min"), torch.minimum)
CLAMP = named("clamp clip")  # by tensors, where versions of PyTorch differ in the gradients of what equals them
# The larger of -0 and +0 is one or the other, by the processor or by the thread.
OF_ZEROS = LARGEST.keys() | named(
    "relu relu_ relu6 hardtanh hardtanh_ clamp clamp_ clip clip_ clamp_min clamp_max clamp_min_ clamp_max_ maximum "
    "minimum amax amin aminmax softshrink"
)
RANDOM = named("rand randint randint_like randperm random_")
DRAWS = named("log_normal_ geometric_ cauchy_ erfinv_")
OF_INTEGERS = named(
    "bincount count_nonzero __floordiv__ __mod__ floor_divide remainder __rfloordiv__ __lshift__ __rshift__"
)
BACKWARD = {torch.Tensor.backward, torch.autograd.backward, torch.autograd.grad}
PLAIN = (named(MOVE) | named(COMPARE) | {torch.device, torch._C._set_grad_enabled}) - ELEMENTWISE
PLAIN |= {
    getattr(attribute, access)
    for _, attribute in inspect.getmembers(torch.Tensor, inspect.isdatadescriptor)
    for access in ("__get__", "__set__", "__delete__")
}
# Their arguments are stretched to one shape.
ALIGNED, DIAGONAL = ELEMENTWISE | DIVIDE | named(COMPARE), named("diagonal")
# They put the dimensions of their argument in another order.
TURN = named("transpose permute movedim moveaxis swapaxes swapdims t unsqueeze")
TURN |= {getattr(torch.Tensor, name).__get__ for name in ("T", "mT")}
VIEWS = named("view reshape")
JOIN = named("cat concat concatenate stack")
# They put images several times, or several numbers of an image, in rows, or add dimensions in front.
REPEAT = named("expand expand_as broadcast_to repeat tile")
RESHAPE = named("view view_as reshape reshape_as flatten unflatten repeat_interleave ravel")
ROWS = JOIN | REPEAT | RESHAPE
# They put other images between the rows of one.
MIX = JOIN | REPEAT
# They look at all numbers.
WHOLE = named(
    "equal allclose is_nonzero unique nonzero argwhere masked_select take meshgrid bincount isin "
    "__contains__ __bool__ register_hook"
)
ONE_HOT = named("one_hot")
# They look at several numbers along a dimension: the place of that argument, and which it is if there is none.
ALONG = {
    function: (place, default)
    for place, default, names in (
        (1, None, "amax amin argmax argmin max min aminmax squeeze squeeze_ flip cumsum count_nonzero"),
        (1, None, "__getitem__ __setitem__"),
        (9, None, "diag diagflat"),
        (9, 0, "flipud"),
        (9, 1, "fliplr"),
        (9, (-2, -1), "diagonal triu triu_ tril tril_"),
        (1, -1, "sort argsort cummax"),
        (1, 0, "select narrow unbind index_select gather"),
        (2, None, "take_along_dim"),
        (2, 0, "split chunk tensor_split split_with_sizes roll"),
        (2, (0, 1), "rot90"),
    )
    for function in named(names)
}
