// The tenant's key of a request.
#pragma once

#include <memory>
#include <string>

#include "lamina/result.h"
#include "packed/keys.h"

namespace lamina::operations {

/// Null if both are empty. kUsage: both are set; else the errors of packed::read_key_file().
Result<std::unique_ptr<packed::KeyWrapper>> open_tenant_key(const std::string& key_file,
                                                            const std::string& key_command);

}  // namespace lamina::operations
