"""The networks of the paper; VGG-16 is torchvision's."""
