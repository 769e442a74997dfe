from stages.lib import data, tensors

import torch
from torchvision.transforms import ToTensor


def test_tensors_equal_those_of_torchvision(split: data.Split) -> None:
    images, labels = tensors.to_tensors(split)
    assert (images.dtype, labels.dtype, images.shape) == (torch.float32, torch.int64, (7, 1, 28, 28))
    for image, tensor in zip(split.images, images, strict=True):
        assert torch.equal(ToTensor()(image[:, :, None]), tensor)
    assert labels.tolist() == split.labels.tolist()


def test_every_epoch_has_an_order_of_its_own_with_every_image_once() -> None:
    orders = [tuple(tensors.shuffled(11, seed, epoch).tolist()) for seed in (0, 1) for epoch in (1, 2)]
    assert all(sorted(order) == list(range(11)) for order in orders)
    assert len({*orders, tuple(range(11))}) == 5
    assert tuple(tensors.shuffled(11, 1, 2).tolist()) == orders[3]


def test_batches_keep_images_with_their_labels_and_leave_none_out(split: data.Split) -> None:
    images, labels = tensors.to_tensors(split)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    parts = list(tensors.batches(images, labels, order, 3))
    assert [len(part_labels) for _, part_labels in parts] == [3, 3, 1]
    assert torch.equal(torch.cat([part for part, _ in parts]), images[order])
    assert torch.equal(torch.cat([part for _, part in parts]), labels[order])
