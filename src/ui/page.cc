#include "ui/page.h"

#include <fmt/format.h>

#include <array>

#include "base/escape.h"
#include "lamina/uuid.h"
#include "ui/assets.h"

namespace lamina::ui {
namespace {

/// In the order in which they use each other.
constexpr std::array kScripts = {"base.js",     "charts.js", "store.js", "memory_map.js",
                                 "snapshot.js", "live.js",   "main.js"};

constexpr std::string_view kHead =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<meta name=\"referrer\" content=\"no-referrer\">\n"
    "<link rel=\"icon\" href=\"data:,\">\n";

std::string title_of(std::string_view title) {
  return fmt::format("<title>{}</title>\n", html_text(title));
}

std::string style_of(std::string_view nonce) {
  return fmt::format("<style nonce=\"{}\">\n{}</style>\n", nonce, asset("page.css").value_or(""));
}

/// JSON inside a script element: "<" only occurs in strings, and would end the element.
std::string in_script(const std::string& json) {
  std::string made;
  made.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      made += "\\u003c";
    } else {
      made += c;
    }
  }
  return made;
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string made;
  for (const char c : escaped_line(text)) {
    switch (c) {
      case '&':
        made += "&amp;";
        break;
      case '<':
        made += "&lt;";
        break;
      case '>':
        made += "&gt;";
        break;
      case '"':
        made += "&quot;";
        break;
      case '\'':
        made += "&#39;";
        break;
      default:
        made += c;
    }
  }
  return made;
}

std::string console_page(std::string_view action_token, std::string_view style_nonce) {
  std::string page(kHead);
  page += title_of("lamina");
  page += style_of(style_nonce);
  page += "<noscript><meta http-equiv=\"refresh\" content=\"0; url=plain\"></noscript>\n";
  if (!action_token.empty()) {
    page += fmt::format("<meta name=\"lamina-actions\" content=\"{}\">\n", html_text(action_token));
  }
  page += fmt::format("<script src=\"{}\" defer></script>\n", kConsoleScript);
  return page + "</head>\n" + std::string(asset("body.html").value_or("")) + "</html>\n";
}

std::string console_script() {
  std::string script;
  for (const char* part : kScripts) script += asset(part).value_or("");
  return script;
}

std::string report_page(std::string_view title, const std::string& data,
                        const std::string& tables) {
  // Only the scripts of this file run, whatever its data contains.
  const std::string nonce = Uuid::random().to_string();
  std::string page(kHead);
  page += fmt::format(
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src "
      "'nonce-{0}'; style-src 'nonce-{0}'; img-src data:; base-uri 'none'; form-action "
      "'none'; require-trusted-types-for 'script'\">\n",
      nonce);
  page += title_of(title);
  page += style_of(nonce);
  page += "</head>\n" + std::string(asset("body.html").value_or(""));
  page += "<noscript>\n<main>\n" + tables + "</main>\n</noscript>\n";
  page +=
      fmt::format("<script type=\"application/json\" id=\"report\">{}</script>\n", in_script(data));
  for (const char* script : kScripts) {
    page += fmt::format("<script nonce=\"{}\">\n{}</script>\n", nonce, asset(script).value_or(""));
  }
  return page + "</html>\n";
}

std::string plain_page(std::string_view title, const std::string& body,
                       std::string_view style_href) {
  return std::string(kHead) + title_of(title) +
         fmt::format(
             "<link rel=\"stylesheet\" href=\"{}\">\n</head>\n<body>\n<main>\n{}</main>\n"
             "</body>\n</html>\n",
             style_href, body);
}

}  // namespace lamina::ui
