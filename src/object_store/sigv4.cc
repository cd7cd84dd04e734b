#include "object_store/sigv4.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "object_store/digest.h"
#include "object_store/encoding.h"

namespace lamina::object_store {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

/// Without spaces at the ends, and with runs of spaces as one.
std::string trimmed(std::string_view value) {
  std::string result;
  for (const char c : value) {
    if (c == ' ' && (result.empty() || result.back() == ' ')) continue;
    result += c;
  }
  if (!result.empty() && result.back() == ' ') result.pop_back();
  return result;
}

std::string signed_names(const Fields& sorted) {
  std::string names;
  for (const auto& [name, value] : sorted) {
    if (!names.empty()) names += ';';
    names += name;
  }
  return names;
}

std::string canonical_request(const SignedParts& parts, const Fields& sorted) {
  std::string text =
      fmt::format("{}\n{}\n{}\n", parts.method, parts.path, canonical_query(parts.query));
  for (const auto& [name, value] : sorted) text += fmt::format("{}:{}\n", name, trimmed(value));
  text += fmt::format("\n{}\n{}", signed_names(sorted), parts.payload_hash);
  return text;
}

Sha256 signing_key(std::string_view secret, std::string_view day, std::string_view region,
                   std::string_view service) {
  const std::string start = fmt::format("AWS4{}", secret);
  Sha256 key = hmac_sha256(std::as_bytes(std::span(start)), day);
  key = hmac_sha256(key, region);
  key = hmac_sha256(key, service);
  return hmac_sha256(key, "aws4_request");
}

}  // namespace

std::string canonical_query(const Fields& query) {
  Fields encoded;
  encoded.reserve(query.size());
  for (const auto& [name, value] : query) {
    encoded.emplace_back(percent_encoded(name), percent_encoded(value));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string text;
  for (const auto& [name, value] : encoded) {
    if (!text.empty()) text += '&';
    text += name;
    text += '=';
    text += value;
  }
  return text;
}

std::string signing_time(std::chrono::sys_seconds time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

std::string authorization(const SignedParts& parts, const Credentials& credentials,
                          std::string_view region, std::string_view service,
                          std::chrono::sys_seconds time) {
  Fields sorted = parts.headers;
  std::sort(sorted.begin(), sorted.end());
  const std::string at = signing_time(time);
  const std::string day = at.substr(0, 8);
  const std::string scope = fmt::format("{}/{}/{}/aws4_request", day, region, service);
  const std::string to_sign =
      fmt::format("{}\n{}\n{}\n{}", kAlgorithm, at, scope,
                  hex_of(sha256_of(std::string_view(canonical_request(parts, sorted)))));
  const Sha256 key = signing_key(credentials.secret_key, day, region, service);
  return fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                     credentials.access_key, scope, signed_names(sorted),
                     hex_of(hmac_sha256(key, to_sign)));
}

}  // namespace lamina::object_store
