#include "operations/tenant_key.h"

#include "base/error.h"

namespace lamina::operations {

Result<std::unique_ptr<packed::KeyWrapper>> open_tenant_key(const std::string& key_file,
                                                            const std::string& key_command) {
  if (!key_file.empty() && !key_command.empty()) {
    return fail(ErrorKind::kUsage, "a key file and a key command were given; give one");
  }
  if (!key_file.empty()) return packed::read_key_file(key_file);
  if (!key_command.empty()) return packed::make_key_command(key_command);
  return std::unique_ptr<packed::KeyWrapper>();
}

}  // namespace lamina::operations
