// Detection of overlayfs.
#pragma once

namespace lamina::os {

/// True for a file or directory in an overlay, on any of its layers.
bool is_in_overlay(int fd);

}  // namespace lamina::os
