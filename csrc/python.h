// What rnnfast._C has beside the ops.
#pragma once

#include <Python.h>

namespace rnnfast {

extern PyMethodDef kPythonFunctions[];

}  // namespace rnnfast
