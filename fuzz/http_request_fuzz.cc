// Bytes that a client sends to the server: the same requests come out however the bytes are split,
// no limit is exceeded, and the message of a rejection is short. (A head just above the limit may
// pass or not, depending on the split.)
//
// The first byte of an input is the size of a piece.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/escape.h"
#include "check.h"
#include "http/request_reader.h"

namespace {

using namespace lamina;
using lamina::fuzz::check;

constexpr std::size_t kMaxHeadBytes = 2048;
constexpr std::size_t kMaxBodyBytes = 256;

std::string text_of(const http::ServerRequest& request) {
  check(!request.method.empty() && request.method.size() <= kMaxHeadBytes);
  check(request.path.size() <= kMaxHeadBytes && request.path.find('\0') == std::string::npos);
  check(request.body.size() <= kMaxBodyBytes);
  std::string text = request.method + " " + request.path;
  for (const auto& [name, value] : request.query) {
    check((name + value).find('\0') == std::string::npos);
    text += " " + name + "=" + value;
  }
  return text + "\n" + request.body;
}

void check_rejection(const http::RequestError& error) {
  constexpr std::size_t kMaxMessageBytes = 200;
  check(error.status == 400 || error.status == 413 || error.status == 431);
  check(!error.message.empty() && error.message.size() <= kMaxMessageBytes);
  check(escaped_line(error.message) == error.message);
}

/// The requests before the end or the first rejection. An invalid request that is incomplete may be
/// rejected or not.
std::vector<std::string> read_in_pieces(std::string_view bytes, std::size_t piece_bytes,
                                        std::size_t max_head_bytes) {
  std::vector<std::string> requests;
  http::RequestReader reader(max_head_bytes, kMaxBodyBytes);
  while (!bytes.empty()) {
    auto whole = reader.take(bytes.substr(0, piece_bytes));
    bytes.remove_prefix(std::min(piece_bytes, bytes.size()));
    while (whole && *whole) {
      requests.push_back(text_of(reader.next()));
      whole = reader.take({});
    }
    if (!whole) {
      check_rejection(whole.error());
      return requests;
    }
    static_cast<void>(reader.takes_continue());
  }
  return requests;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece_bytes = std::size_t{data[0]} + 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  read_in_pieces(bytes, piece_bytes, kMaxHeadBytes / 4);
  if (bytes.size() > kMaxHeadBytes) return 0;
  check(read_in_pieces(bytes, kMaxHeadBytes, kMaxHeadBytes) ==
        read_in_pieces(bytes, piece_bytes, kMaxHeadBytes));
  return 0;
}
