#include "packed/keys.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "os/file.h"
#include "os/shell_command.h"
#include "packed/aes_gcm.h"

namespace lamina::packed {
namespace {

constexpr std::size_t kHexDigits = 2 * DataKey::kBytes;
constexpr std::size_t kKeyIdBytes = 8;
constexpr std::uint32_t kOthersMask = 0077;
constexpr std::chrono::minutes kCommandTimeout{1};
/// Bound to every wrapped key, so that none is taken for a part of an object.
constexpr std::string_view kWrapLabel = "LAMINAKR wrapped key";

std::string id_of_key(const DataKey& key) {
  std::string id = "file:";
  const auto digest = sha256("lamina key id", key.bytes());
  for (const std::byte byte : std::span(digest).first<kKeyIdBytes>()) {
    id += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  }
  return id;
}

class FileKey : public KeyWrapper {
 public:
  /// REQUIRES: keys is not empty.
  static Result<std::unique_ptr<KeyWrapper>> create(const std::vector<DataKey>& keys) {
    auto made = std::make_unique<FileKey>();
    made->keys_.reserve(keys.size());
    for (const DataKey& key : keys) {
      LAMINA_ASSIGN_OR_RETURN(AesGcm cipher, AesGcm::create(key));
      made->keys_.push_back({std::move(cipher), id_of_key(key)});
    }
    return std::unique_ptr<KeyWrapper>(std::move(made));
  }

  [[nodiscard]] WrapAlgorithm algorithm() const override { return WrapAlgorithm::kAes256Gcm; }
  [[nodiscard]] const std::string& key_id() const override { return keys_.front().id; }
  [[nodiscard]] bool opens(const std::string& id) const override {
    return std::ranges::find(keys_, id, &OneKey::id) != keys_.end();
  }

  Result<std::vector<std::byte>> wrap(const DataKey& key) override {
    Nonce nonce{};
    LAMINA_RETURN_IF_ERROR(fill_randomly(nonce));
    std::vector<std::byte> wrapped(kWrappedBytes);
    std::copy(nonce.begin(), nonce.end(), wrapped.begin());
    const auto encrypted = std::span(wrapped).subspan(kNonceBytes, DataKey::kBytes);
    std::copy(key.bytes().begin(), key.bytes().end(), encrypted.begin());
    LAMINA_RETURN_IF_ERROR(keys_.front().cipher.encrypt(nonce, label(), encrypted,
                                                        std::span(wrapped).last<kTagBytes>()));
    return wrapped;
  }

  Result<DataKey> unwrap(std::span<const std::byte> wrapped) override {
    std::array<std::byte, DataKey::kBytes> plain{};
    bool opened = false;
    if (wrapped.size() == kWrappedBytes) {
      Nonce nonce{};
      std::copy_n(wrapped.begin(), nonce.size(), nonce.begin());
      for (auto one = keys_.begin(); one != keys_.end() && !opened; ++one) {
        LAMINA_ASSIGN_OR_RETURN(
            opened,
            one->cipher.decrypt(nonce, label(), wrapped.subspan(kNonceBytes, DataKey::kBytes),
                                wrapped.last<kTagBytes>(), plain));
      }
    }
    if (!opened) {
      return fail(ErrorKind::kPermission, "the key {} does not open the wrapped key", key_id());
    }
    DataKey key{std::span<const std::byte, DataKey::kBytes>(plain)};
    clear_secret(plain);
    return key;
  }

 private:
  static constexpr std::size_t kWrappedBytes = kNonceBytes + DataKey::kBytes + kTagBytes;

  static std::span<const std::byte> label() { return std::as_bytes(std::span(kWrapLabel)); }

  struct OneKey {
    AesGcm cipher;
    std::string id;
  };

  std::vector<OneKey> keys_;  ///< the one that wraps first
};

class CommandKey : public KeyWrapper {
 public:
  explicit CommandKey(std::string command) : command_(std::move(command)) {}

  [[nodiscard]] WrapAlgorithm algorithm() const override { return WrapAlgorithm::kCommand; }
  [[nodiscard]] const std::string& key_id() const override { return key_id_; }

  Result<std::vector<std::byte>> wrap(const DataKey& key) override {
    LAMINA_ASSIGN_OR_RETURN(auto wrapped, run("wrap", key.bytes(), kMaxWrappedKeyBytes));
    if (!wrapped.empty()) return wrapped;
    return fail(ErrorKind::kFailed, "the key command '{}' printed nothing to \"wrap\"", command_);
  }

  Result<DataKey> unwrap(std::span<const std::byte> wrapped) override {
    LAMINA_ASSIGN_OR_RETURN(auto plain, run("unwrap", wrapped, kMaxWrappedKeyBytes));
    if (plain.size() != DataKey::kBytes) {
      clear_secret(plain);
      return fail(ErrorKind::kFailed,
                  "the key command '{}' printed {} bytes to \"unwrap\", not a key of {}", command_,
                  plain.size(), DataKey::kBytes);
    }
    DataKey key{std::span<const std::byte, DataKey::kBytes>(plain)};
    clear_secret(plain);
    return key;
  }

 private:
  Result<std::vector<std::byte>> run(const char* operation, std::span<const std::byte> input,
                                     std::uint64_t max_output_bytes) {
    os::ShellCommand command;
    command.command = command_;
    command.variables = {{"LAMINA_KEY_OPERATION", operation}};
    command.input = input;
    command.max_output_bytes = max_output_bytes;
    command.timeout = kCommandTimeout;
    return os::run_shell_command(command);
  }

  std::string command_;
  std::string key_id_;
};

int digit_value(std::byte digit) {
  const char character = static_cast<char>(digit);
  if (character >= '0' && character <= '9') return character - '0';
  if (character >= 'a' && character <= 'f') return character - 'a' + 10;
  if (character >= 'A' && character <= 'F') return character - 'A' + 10;
  return -1;
}

std::optional<DataKey> key_from_hex(std::span<const std::byte> digits) {
  std::array<std::byte, DataKey::kBytes> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int high = digit_value(digits[2 * i]);
    const int low = digit_value(digits[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes[i] = static_cast<std::byte>(high * 16 + low);
  }
  std::optional<DataKey> key(std::span<const std::byte, DataKey::kBytes>{bytes});
  clear_secret(bytes);
  return key;
}

/// The keys in the text of a key file; none: it is not one.
std::vector<DataKey> parse_keys(std::span<const std::byte> text) {
  std::vector<DataKey> keys;
  if (text.size() == DataKey::kBytes) {
    keys.emplace_back(text.first<DataKey::kBytes>());
    return keys;
  }
  while (text.size() >= kHexDigits && keys.size() < kMaxKeysOfFile) {
    const auto key = key_from_hex(text.first(kHexDigits));
    if (!key) return {};
    keys.push_back(*key);
    text = text.subspan(kHexDigits);
    if (text.empty()) return keys;
    if (text.front() != std::byte{'\n'}) return {};
    text = text.subspan(1);
  }
  return text.empty() ? keys : std::vector<DataKey>();
}

}  // namespace

Result<std::unique_ptr<KeyWrapper>> read_key_file(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  if ((opened.facts.mode & kOthersMask) != 0) {
    return with_remedy(fail(ErrorKind::kPermission,
                            "the key file '{}' has mode {:04o}: others than its owner may use it",
                            path, opened.facts.mode),
                       "run: chmod 600 {}", path);
  }
  constexpr std::uint64_t kMaxKeyFileBytes = 4096;
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::byte> text,
                          os::read_whole(opened.fd.get(), kMaxKeyFileBytes, path));
  const std::vector<DataKey> keys = parse_keys(text);
  clear_secret(text);
  if (!keys.empty()) return FileKey::create(keys);
  return fail(ErrorKind::kUsage,
              "'{}' is not a key file: it has {} bytes, not 32 bytes or 64 hexadecimal digits, or "
              "up to {} lines of them",
              path, text.size(), kMaxKeysOfFile);
}

std::unique_ptr<KeyWrapper> make_key_command(std::string command) {
  return std::make_unique<CommandKey>(std::move(command));
}

}  // namespace lamina::packed
