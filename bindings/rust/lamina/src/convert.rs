//! What the generated code needs to pass values to C and to read those of C.

use crate::{CloneDevices, Code, Error, Options, Vmm};
use lamina_sys as sys;
use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr};
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;

/// Owns what the options of one call point to.
#[derive(Default)]
pub struct Keep<'a> {
    strings: Vec<CString>,
    arrays: Vec<Vec<*const c_char>>,
    networks: Vec<Vec<sys::lamina_network_override>>,
    drives: Vec<Vec<sys::lamina_drive_override>>,
    devices: Vec<sys::lamina_clone_devices>,
    device_list: Vec<*const sys::lamina_clone_devices>,
    vmms: Vec<Box<sys::lamina_vmm>>,
    vmm_lists: Vec<Vec<*const sys::lamina_vmm>>,
    pause: Option<Box<sys::lamina_pause_options>>,
    resume: Option<Box<sys::lamina_resume_options>>,
    function: Option<Box<&'a dyn Fn() -> i32>>,
}

impl<'a> Keep<'a> {
    /// Null for an empty text, which is "not given".
    pub fn text(&mut self, text: &OsStr) -> Result<*const c_char, Error> {
        if text.is_empty() {
            return Ok(std::ptr::null());
        }
        let string = CString::new(text.as_bytes()).map_err(|_| Error {
            code: Code::Usage,
            message: format!("{text:?} has a zero byte"),
            remedy: String::new(),
            notes: Vec::new(),
            error_number: 0,
        })?;
        let pointer = string.as_ptr();
        self.strings.push(string);
        Ok(pointer)
    }

    pub fn texts(&mut self, texts: &[&OsStr]) -> Result<*const *const c_char, Error> {
        let mut pointers = Vec::with_capacity(texts.len());
        for text in texts {
            let pointer = self.text(text)?;
            // An empty text is one in a list.
            pointers.push(if pointer.is_null() { b"\0".as_ptr().cast() } else { pointer });
        }
        let pointer = pointers.as_ptr();
        self.arrays.push(pointers);
        Ok(pointer)
    }

    pub fn networks(
        &mut self,
        networks: &[(&OsStr, &OsStr)],
    ) -> Result<*const sys::lamina_network_override, Error> {
        let mut made = Vec::with_capacity(networks.len());
        for (interface, device) in networks {
            made.push(sys::lamina_network_override {
                interface_id: self.text(interface)?,
                host_device: self.text(device)?,
            });
        }
        let pointer = made.as_ptr();
        self.networks.push(made);
        Ok(pointer)
    }

    pub fn drives(
        &mut self,
        drives: &[(&OsStr, &OsStr)],
    ) -> Result<*const sys::lamina_drive_override, Error> {
        let mut made = Vec::with_capacity(drives.len());
        for (id, path) in drives {
            made.push(sys::lamina_drive_override {
                drive_id: self.text(id)?,
                path: self.text(path)?,
            });
        }
        let pointer = made.as_ptr();
        self.drives.push(made);
        Ok(pointer)
    }

    pub fn vmm(&mut self, vmm: sys::lamina_vmm) -> *const sys::lamina_vmm {
        // What is boxed keeps its address when the list grows.
        self.vmms.push(Box::new(vmm));
        &**self.vmms.last().expect("it was pushed")
    }

    pub fn clones(&mut self, clones: &'a [Vmm<'a>]) -> Result<*const *const sys::lamina_vmm, Error> {
        let mut pointers = Vec::with_capacity(clones.len());
        for clone in clones {
            let vmm = clone.to_c(self)?;
            pointers.push(self.vmm(vmm));
        }
        self.vmm_lists.push(pointers);
        Ok(self.vmm_lists.last().expect("it was pushed").as_ptr())
    }

    pub fn devices(
        &mut self,
        devices: &'a [CloneDevices<'a>],
    ) -> Result<*const *const sys::lamina_clone_devices, Error> {
        let mut made = Vec::with_capacity(devices.len());
        for one in devices {
            made.push(one.to_c(self)?);
        }
        self.devices = made;
        self.device_list = self.devices.iter().map(|one| one as *const _).collect();
        Ok(self.device_list.as_ptr())
    }

    pub fn pause(&mut self, options: sys::lamina_pause_options) -> *const sys::lamina_pause_options {
        &**self.pause.insert(Box::new(options))
    }

    /// Without `vmm` and `name`, which are those of each clone.
    pub fn resume_of_clones(
        &mut self,
        mut options: sys::lamina_resume_options,
    ) -> *const sys::lamina_resume_options {
        options.vmm = std::ptr::null();
        options.name = std::ptr::null();
        &**self.resume.insert(Box::new(options))
    }

    pub fn function(&mut self, function: &'a dyn Fn() -> i32) -> *mut c_void {
        let kept: &mut Box<&'a dyn Fn() -> i32> = self.function.insert(Box::new(function));
        let address: *mut &'a dyn Fn() -> i32 = &mut **kept;
        address.cast()
    }
}

/// Calls the closure at `context`. A panic must not enter C: it is a failure of the pause.
///
/// # Safety
/// `context` comes from `Keep::function()`.
pub unsafe extern "C" fn call_while_frozen(context: *mut c_void) -> c_int {
    let function = unsafe { *context.cast::<&dyn Fn() -> i32>() };
    catch_unwind(AssertUnwindSafe(function)).unwrap_or(-1)
}

// Of the following, each pointer must come from a report that lives as long as the result. The
// library promises that texts end with a zero byte, and that arrays have as many items as it says.

pub unsafe fn text_at<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

pub unsafe fn path_at<'a>(path: *const c_char) -> &'a Path {
    if path.is_null() {
        return Path::new("");
    }
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

pub unsafe fn slice<'a, T>(array: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    unsafe { std::slice::from_raw_parts(array, count) }
}

pub unsafe fn texts<'a>(
    array: *const *const c_char,
    count: usize,
) -> impl ExactSizeIterator<Item = Cow<'a, str>> {
    unsafe { slice::<'a>(array, count) }.iter().map(|&text| unsafe { text_at(text) })
}

/// `View` is a transparent wrapper of `C`.
pub unsafe fn items<'a, C: 'a, View: crate::ReportView<C = C> + 'a>(
    array: *const *const C,
    count: usize,
) -> impl ExactSizeIterator<Item = &'a View> {
    unsafe { slice::<'a>(array, count) }.iter().map(|&item| {
        let size = unsafe { item.cast::<usize>().read() }; // struct_size
        assert!(size >= std::mem::size_of::<C>(), "liblamina is older than this crate");
        unsafe { &*item.cast::<View>() }
    })
}

/// The same for one struct; null: `None`.
pub unsafe fn item_at<'a, C: 'a, View: crate::ReportView<C = C> + 'a>(item: *const C) -> Option<&'a View> {
    if item.is_null() {
        return None;
    }
    let size = unsafe { item.cast::<usize>().read() }; // struct_size
    assert!(size >= std::mem::size_of::<C>(), "liblamina is older than this crate");
    Some(unsafe { &*item.cast::<View>() })
}

pub unsafe fn error_at(error: *const sys::lamina_error) -> Option<Error> {
    let error = unsafe { error.as_ref() }?;
    Some(Error {
        code: Code::from_c(error.code),
        message: unsafe { text_at(error.message) }.into_owned(),
        remedy: unsafe { text_at(error.remedy) }.into_owned(),
        notes: unsafe { texts(error.notes, error.note_count) }.map(Cow::into_owned).collect(),
        error_number: error.error_number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn result_of(function: &dyn Fn() -> i32) -> c_int {
        let mut keep = Keep::default();
        let context = keep.function(function);
        unsafe { call_while_frozen(context) }
    }

    #[test]
    fn a_closure_is_called_with_what_it_borrows() {
        let calls = Cell::new(0);
        assert_eq!(result_of(&|| calls.replace(5)), 0);
        assert_eq!(result_of(&|| calls.get()), 5);
    }

    #[test]
    fn a_panic_does_not_enter_c() {
        assert_eq!(result_of(&|| panic!("this is expected")), -1);
    }

    #[test]
    fn each_clone_keeps_its_devices() {
        let drives: Vec<Vec<(&OsStr, &OsStr)>> =
            ["/a", "/b"].iter().map(|path| vec![("_disk0".as_ref(), path.as_ref())]).collect();
        let devices: Vec<CloneDevices> = drives
            .iter()
            .map(|drives| CloneDevices { drive_overrides: drives, ..Default::default() })
            .collect();
        let mut keep = Keep::default();
        let list = unsafe { slice(keep.devices(&devices).unwrap(), 2) };
        for (one, path) in list.iter().zip(["/a", "/b"]) {
            let one = unsafe { &**one };
            assert_eq!(one.struct_size, std::mem::size_of_val(one));
            let drives = unsafe { slice(one.drive_overrides, one.drive_override_count) };
            assert_eq!(drives.len(), 1);
            assert_eq!(unsafe { text_at(drives[0].drive_id) }, "_disk0");
            assert_eq!(unsafe { text_at(drives[0].path) }, path);
        }
    }

    #[test]
    fn texts_outlive_their_pointers() {
        let mut keep = Keep::default();
        let first = keep.text("first".as_ref()).unwrap();
        let many: Vec<_> = (0..1000).map(|i| keep.text(i.to_string().as_ref()).unwrap()).collect();
        assert_eq!(unsafe { text_at(first) }, "first");
        assert_eq!(unsafe { text_at(many[999]) }, "999");
        assert!(keep.text("".as_ref()).unwrap().is_null());
        let list = keep.texts(&["a".as_ref(), "".as_ref()]).unwrap();
        let read: Vec<_> = unsafe { texts(list, 2) }.collect();
        assert_eq!(read, ["a", ""]);
    }
}
