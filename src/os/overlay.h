// Overlays: several file systems that look like one (overlayfs).
#pragma once

namespace lamina::os {

/// True for a file or directory of an overlay, whichever layer it is in.
bool is_in_overlay(int fd);

}  // namespace lamina::os
