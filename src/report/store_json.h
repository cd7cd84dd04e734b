// What is reported about a store and what is in it.
#pragma once

#include "lamina/listing.h"
#include "report/error_json.h"

namespace lamina::report {

Json pin_json(const PinListing& pin);
Json totals_json(const StoreTotals& totals);

/// `with_tree`: also who descends from whom.
Json listing_json(const StoreListing& listing, bool with_tree);

}  // namespace lamina::report
