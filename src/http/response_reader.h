// The bytes of an answer, in whatever pieces they arrive, become an answer (RFC 9112).
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"
#include "lamina/result.h"

namespace lamina::http {

/// A head, and a line between the pieces of a body, may have this many bytes.
inline constexpr std::size_t kMaxHeadBytes = std::size_t{64} << 10;

/// A body that is kept as a text of limited length. (Beast's own has the memory that a head claims
/// before it looks at the limit.) The interface is what Beast calls a Body.
struct LimitedBody {
  struct value_type {  // NOLINT(readability-identifier-naming): Beast's name
    std::string text;
    std::size_t max_bytes = 0;
  };

  class reader {  // NOLINT(readability-identifier-naming): Beast's name
   public:
    template <bool kIsRequest, class Fields>
    reader(boost::beast::http::header<kIsRequest, Fields>& /*head*/, value_type& body)
        : body_(body) {}
    void init(const boost::optional<std::uint64_t>& claimed_bytes,
              boost::beast::error_code& error) const {
      error = {};
      if (claimed_bytes && *claimed_bytes > body_.max_bytes) {
        error = boost::beast::http::error::body_limit;
      }
    }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, boost::beast::error_code& error) const {
      error = {};
      std::size_t taken = 0;
      for (auto it = boost::asio::buffer_sequence_begin(buffers);
           it != boost::asio::buffer_sequence_end(buffers); ++it) {
        const boost::asio::const_buffer buffer = *it;
        if (buffer.size() > body_.max_bytes - body_.text.size()) {
          error = boost::beast::http::error::body_limit;
          return taken;
        }
        body_.text.append(static_cast<const char*>(buffer.data()), buffer.size());
        taken += buffer.size();
      }
      return taken;
    }
    static void finish(boost::beast::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

/// Not thread-safe. After a failure it is of no more use.
class ResponseReader {
 public:
  explicit ResponseReader(std::size_t max_body_bytes);

  /// Takes what has arrived. True when the answer is whole. kFailed for what is no answer of
  /// HTTP/1, or too large.
  Result<bool> take(std::string_view bytes);

  /// Nothing more arrives. kFailed when the answer is not whole without.
  Status end();

  /// REQUIRES: take() has returned true, or end() succeeded. Once.
  Response response();

 private:
  /// Of the next head: others may come before that of the answer (100 Continue).
  void begin();
  /// Makes the start of `rest_` a status line that Beast takes. False: more of it is needed.
  bool complete_status_line();
  [[nodiscard]] Status check_status() const;
  [[nodiscard]] Status failed(const boost::beast::error_code& error) const;

  std::size_t max_body_bytes_;
  std::optional<boost::beast::http::response_parser<LimitedBody>> parser_;
  unsigned interim_heads_ = 0;
  bool at_status_line_ = true;
  std::string rest_;  ///< arrived, and not taken by the parser yet
};

}  // namespace lamina::http
