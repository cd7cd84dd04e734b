// What an HTTP answer of an S3 server means.
//
// | answer | outcome |
// |---|---|
// | 2xx with what the request asks for | done |
// | 404 NoSuchKey | absent; of a removal: done |
// | 404 without the XML of S3 (a proxy, a HEAD) | unavailable |
// | 412 | exists |
// | 409 ConditionalRequestConflict | unavailable: another conditional write is under way |
// | 401, 403 | denied |
// | 400 with a code that blames the bytes | corrupt |
// | 408, 425, 429, 5xx | unavailable |
// | other 3xx, 4xx | refused |
// | no answer to a write that was sent, or a part of one | unknown |
// | no answer otherwise | unavailable |
#pragma once

#include <string>
#include <string_view>

#include "object_store/http_message.h"
#include "object_store/object_store.h"
#include "object_store/s3_request.h"

namespace lamina::object_store {

/// Names for messages.
struct AnswerContext {
  const S3Endpoint& endpoint;
  const Credentials& credentials;  ///< their parts are cut out of the server's texts
};

/// The answer to `request`. A kHead that the server answers with 404 is kUnavailable here, because
/// an answer to HEAD has no body that says what is absent: see s3_store.cc.
Answer answer_of(const Request& request, HttpAnswer http, const AnswerContext& context);

/// S3's code in an answer that is an error: "RequestTimeTooSkewed"; "" if there is none.
std::string error_code_of(const HttpAnswer& http);

}  // namespace lamina::object_store
