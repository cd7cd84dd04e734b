// lamina.h is C++11, for programs with old compilers.
#include "lamina.h"

int lamina_h_is_cxx() { return LAMINA_OK; }
