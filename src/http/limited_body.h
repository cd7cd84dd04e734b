// The body of a message that Beast parses.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <cstddef>
#include <cstdint>
#include <string>

namespace lamina::http {

/// A body of limited length, stored as text. (Beast's own body type reserves the claimed length
/// before it checks the limit.) Satisfies Beast's Body requirements.
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

}  // namespace lamina::http
