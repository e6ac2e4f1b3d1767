//! Files of a user's that go onto the nodes: which ones, and whether they can run there.
//!
//! A program that cannot is refused before a machine starts, with what is wrong and what to do: it is not
//! there, not executable, made for another processor or system, or it needs an interpreter, a library or a
//! newer C library that the guest has not.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::names::nearest;
use crate::base::program::Program;
use crate::guest::contents::Contents;
use crate::guest::objection::objection;

/// Words of the shell with which a command may begin, and which no file has.
const SHELL_WORDS: [&str; 16] = [
    ".", "break", "case", "cd", "eval", "exec", "exit", "export", "for", "if", "set", "trap", "ulimit",
    "umask", "until", "while",
];

/// Programs that run the one that stands behind their own words.
const WRAPPERS: [&str; 12] = [
    "chrt", "env", "exec", "ionice", "ltrace", "nice", "nohup", "setsid", "stdbuf", "strace", "taskset",
    "timeout",
];

/// Most that all pushed files may have together: the disk that they come in on, less what else is on it.
const ROOM_BYTES: u64 = 200 << 20;

/// Bytes of a script that are read, to see which programs it calls.
const SCRIPT_LIMIT: u64 = 1 << 20;

/// Function that gives a local file another name; the last tells whether it is called as a program.
type Rename<'a> = &'a mut dyn FnMut(&mut Pushed, &Path, bool) -> Result<String>;

/// Files that a user brings for one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// All files, each under the name that it has on the nodes.
    pub files: Vec<Program>,
    /// Names of the files that are called as programs.
    called: Vec<String>,
    /// Directory where relative paths begin; empty for that of this process.
    base: PathBuf,
}

impl Pushed {
    /// Takes in files, and directories with all that they have, that go onto the nodes whatever they are.
    ///
    /// # Errors
    ///
    /// One is not there, or is neither, or two of them have the same name.
    pub fn new(files: &[PathBuf]) -> Result<Pushed> {
        Pushed::below(Path::new(""), files)
    }

    /// The same for paths that begin in `base`.
    ///
    /// # Errors
    ///
    /// As [`Pushed::new`].
    pub fn below(base: &Path, files: &[PathBuf]) -> Result<Pushed> {
        let mut pushed = Pushed { base: base.to_owned(), ..Pushed::default() };
        for file in files {
            let directory = pushed.base.join(file);
            match directory.is_dir() {
                true => pushed.add_directory(&directory)?,
                false => drop(pushed.add(file)?),
            }
        }
        Ok(pushed)
    }

    /// Takes in what a directory has, under the directory's name.
    fn add_directory(&mut self, directory: &Path) -> Result<()> {
        let whole = directory.canonicalize().at("failed to resolve", directory)?;
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut pending = vec![(name, whole)];
        while let Some((name, path)) = pending.pop() {
            let metadata = fs::metadata(&path).at("failed to look at", &path)?;
            if metadata.is_file() {
                let path = path.canonicalize().at("failed to resolve", &path)?;
                self.keep(Program { name, path })?;
                continue;
            }
            if !metadata.is_dir() || path.is_symlink() {
                return Err(Error::usage(format!("{} cannot be pushed", path.display()))
                    .next("a directory may have files, links to files, and directories"));
            }
            let mut entries = Vec::new();
            for entry in fs::read_dir(&path).at("failed to list", &path)? {
                let entry = entry.at("failed to list", &path)?;
                entries.push((format!("{name}/{}", entry.file_name().to_string_lossy()), entry.path()));
            }
            entries.sort();
            pending.extend(entries.into_iter().rev());
        }
        Ok(())
    }

    /// Takes in the program that a command begins with, if that is a local path; gives the command as it is
    /// called on a node. Before it may stand variables, whose local files are taken in too (`LD_PRELOAD=./x.so`), and a
    /// program that runs another (`timeout 20 ./srv`).
    ///
    /// # Errors
    ///
    /// A relative path leads nowhere, or another file has the same name.
    pub fn command(&mut self, command: &str) -> Result<String> {
        self.renamed(command, &mut |pushed, path, is_called| {
            let name = pushed.add(path)?;
            if is_called {
                pushed.called.push(name.clone());
            }
            Ok(name)
        })
    }

    /// The same command for who calls it in `directory`: with other paths to the local files that it names.
    ///
    /// # Errors
    ///
    /// As [`Pushed::command`].
    pub fn command_in(&mut self, directory: &Path, command: &str) -> Result<String> {
        let directory = directory.canonicalize().at("failed to resolve", directory)?;
        self.renamed(command, &mut |pushed, path, _| pushed.path_from(&directory, path))
    }

    /// The path of a local file for who is in `directory`, which is absolute.
    ///
    /// # Errors
    ///
    /// The file is not there.
    pub fn path_from(&self, directory: &Path, path: &Path) -> Result<String> {
        let path = self.base.join(path);
        let path = path.canonicalize().at("failed to resolve", &path)?;
        let is_common = |(a, b): &(Component<'_>, Component<'_>)| a == b;
        let common = directory.components().zip(path.components()).take_while(is_common).count();
        let up = directory.components().count() - common;
        let mut relative: PathBuf = match up {
            0 => PathBuf::from("."),
            up => std::iter::repeat_n("..", up).collect(),
        };
        relative.extend(path.components().skip(common));
        Ok(relative.to_string_lossy().into_owned())
    }

    /// A command with another name for each local file that it begins with; what names them is told whether it is called.
    fn renamed(&mut self, command: &str, name: Rename<'_>) -> Result<String> {
        let mut rest = command.trim_start();
        let mut called = String::new();
        let mut is_wrapped = false;
        while !rest.is_empty() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            let next = behind.trim_start();
            let space = &behind[..behind.len() - next.len()];
            let path = Path::new(word);
            if let Some((variable, value)) = assignment(word).filter(|_| !is_wrapped) {
                called.push_str(&format!("{variable}={}{space}", self.value(value, name)?));
            } else if is_wrapped && !(word.starts_with("./") || word.starts_with("../") || self.has(path)) {
                called.push_str(word);
                called.push_str(space);
            } else if !word.contains('/') || path.is_absolute() && !self.has(path) {
                // An absolute path that is not here may be there.
                called.push_str(word);
                called.push_str(space);
                if !WRAPPERS.contains(&word.rsplit('/').next().unwrap_or(word)) {
                    return Ok(called + next);
                }
                is_wrapped = true;
            } else {
                called.push_str(&format!("{}{space}{next}", name(self, path, true)?));
                return Ok(called);
            }
            rest = next;
        }
        Ok(called)
    }

    /// The value of a variable, with the local files that it names taken in: they are found by their names.
    fn value(&mut self, value: &str, name: Rename<'_>) -> Result<String> {
        let mut parts = Vec::new();
        for part in value.split(':') {
            let is_local = part.contains('/') && self.has(Path::new(part));
            parts.push(if is_local { name(self, Path::new(part), false)? } else { part.to_owned() });
        }
        Ok(parts.join(":"))
    }

    /// True if a path leads to a local file.
    fn has(&self, path: &Path) -> bool {
        self.base.join(path).is_file()
    }

    /// The texts of all scripts among the files.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn scripts(&self) -> Result<Vec<String>> {
        let mut scripts = Vec::new();
        for Program { path, .. } in &self.files {
            let file = fs::File::open(path).at("failed to read", path)?;
            let mut head = Vec::new();
            file.take(SCRIPT_LIMIT).read_to_end(&mut head).at("failed to read", path)?;
            if head.starts_with(b"#!") {
                scripts.push(String::from_utf8_lossy(&head).into_owned());
            }
        }
        Ok(scripts)
    }

    fn add(&mut self, path: &Path) -> Result<String> {
        let path = &self.base.join(path);
        if !path.is_file() {
            let what = if path.is_dir() { "is a directory, not a file" } else { "is not there" };
            let near = near_file(path).map(|near| format!("; the nearest is {}", near.display()));
            return Err(Error::usage(format!("{} {what}{}", path.display(), near.unwrap_or_default()))
                .next("name a file; a relative path starts where this command was called, or where the scenario's file is"));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = path.canonicalize().at("failed to resolve", path)?;
        self.keep(Program { name: name.clone(), path })?;
        Ok(name)
    }

    /// Keeps a file, unless it is kept already.
    fn keep(&mut self, file: Program) -> Result<()> {
        match self.files.iter().find(|other| other.name == file.name) {
            Some(other) if other.path == file.path => {}
            Some(other) => {
                let (path, other) = (file.path.display(), other.path.display());
                return Err(Error::usage(format!("{path} and {other} have the same name on the nodes"))
                    .next("rename one of them"));
            }
            None => self.files.push(file),
        }
        Ok(())
    }

    /// These files and, after them, those of `programs` whose names they do not take.
    pub fn before(&self, programs: &[Program]) -> Vec<Program> {
        let is_free = |program: &&Program| !self.files.iter().any(|file| file.name == program.name);
        self.files.iter().chain(programs.iter().filter(is_free)).cloned().collect()
    }

    /// Checks that all files together have room in a guest that has `contents`, and that every program and library can run
    /// there; what lies in directories is data.
    ///
    /// # Errors
    ///
    /// They have not, or one cannot: with the first reason and what to do.
    pub fn check(&self, contents: &Contents) -> Result<()> {
        self.check_room()?;
        for file in self.files.iter().filter(|file| !file.name.contains('/')) {
            let called = self.called.contains(&file.name);
            let bytes = fs::read(&file.path).at("failed to read", &file.path)?;
            let mode = fs::metadata(&file.path).at("failed to look at", &file.path)?.permissions().mode();
            let wrong = match called && mode & 0o111 == 0 {
                true => Some(("is not executable".to_owned(), format!("chmod +x {}", file.path.display()))),
                false => objection(&bytes, called, &self.files, contents),
            };
            if let Some((what, next)) = wrong {
                return Err(Error::usage(format!("{} {what}", file.path.display())).next(next));
            }
        }
        Ok(())
    }

    /// Checks that all files together have room on a node.
    fn check_room(&self) -> Result<()> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let (mut all, mut largest) = (0, (0, Path::new("")));
        for Program { path, .. } in &self.files {
            let bytes = fs::metadata(path).at("failed to look at", path)?.len();
            all += bytes;
            largest = largest.max((bytes, path));
        }
        if all <= ROOM_BYTES {
            return Ok(());
        }
        let (room, path) = (mib(ROOM_BYTES), largest.1.display());
        let text = format!(
            "{} MiB are to be pushed, and a node takes {room}; {path} has {}",
            mib(all),
            mib(largest.0)
        );
        Err(Error::usage(text)
            .next("push less, strip programs of their debug information, or make large data on the node"))
    }

    /// Checks that a shell in a guest that has `contents` finds the program that a command begins with, among
    /// programs of these `names` too.
    ///
    /// # Errors
    ///
    /// It plainly does not: with the nearest name.
    pub fn check_command(command: &str, contents: &Contents, names: &[&str]) -> Result<()> {
        let word = command.split_whitespace().next().unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+./".contains(&byte);
        let is_there = match word.starts_with('/') {
            true => contents.has(word),
            false => contents.has_program(word) || names.contains(&word),
        };
        // What is not plainly a program is the shell's to understand.
        if is_there || SHELL_WORDS.contains(&word) || word.is_empty() || !word.bytes().all(is_plain) {
            return Ok(());
        }
        let near = nearest(word, names.iter().copied());
        let next = match near {
            Some(near) => {
                format!("did you mean {near}? A program of this computer is named by its path: ./{word}")
            }
            None => format!("name a program of this computer by its path: ./{word}"),
        };
        Err(Error::usage(format!("the guest has no program called {word}")).next(next))
    }
}

/// The file beside a path that leads nowhere whose name is nearest to its own.
fn near_file(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(directory).ok()?;
    let names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let near = nearest(&path.file_name()?.to_string_lossy(), names.iter().map(String::as_str))?;
    Some(path.with_file_name(near))
}

/// Name and value of a variable that a shell sets for one command: `NAME=VALUE`.
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    (begins && name.bytes().all(is_name)).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contents of a guest, as far as these tests go.
    fn contents() -> Contents {
        Contents::new(
            ["/bin/sh", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/env"],
            "2.36-9",
        )
    }

    /// A program of this computer's with these changes.
    fn check(name: &str, bytes: &[u8], mode: u32, contents: &Contents) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut pushed = Pushed::default();
        assert_eq!(pushed.command(&format!("{} -a  b", path.display())).unwrap(), format!("{name} -a  b"));
        pushed.check(contents).err().map_or(String::new(), |error| error.to_string())
    }

    /// This very test: dynamically linked against the host's C library.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn own() -> Vec<u8> {
        fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn local_path_is_pushed_and_called_by_its_name() {
        let mut pushed = Pushed::default();
        assert_eq!(pushed.command("rping -s").unwrap(), "rping -s");
        assert_eq!(pushed.command("/nonexistent/there -s").unwrap(), "/nonexistent/there -s");
        assert_eq!(pushed, Pushed::default());
        let error = pushed.command("./nonexistent -s").unwrap_err();
        assert!(error.to_string().contains("./nonexistent is not there"), "{error}");
    }

    #[test]
    fn program_that_is_nowhere_is_named() {
        let check = |command: &str| {
            let result = Pushed::check_command(command, &contents(), &["rdma_server"]);
            result.err().map_or(String::new(), |error| error.to_string())
        };
        for command in ["rdma_server --once", "sh -c x", "/bin/sh x", "X=1 y", "cd /; y", "{ y; }", "exec y"]
        {
            assert_eq!(check(command), "", "{command}");
        }
        let error = check("rdma_servr --once");
        assert!(error.contains("no program called rdma_servr\n  next: did you mean rdma_server?"), "{error}");
        assert!(check("/opt/x").contains("no program called /opt/x"));
    }

    #[test]
    fn two_files_of_one_name_are_refused_and_one_file_twice_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name).join("data"));
        for file in [&a, &b] {
            fs::create_dir(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        assert_eq!(Pushed::new(&[a.clone(), a.clone()]).unwrap().files.len(), 1);
        assert!(Pushed::new(&[a, b]).unwrap_err().to_string().contains("same name on the nodes"));
    }

    #[test]
    fn directory_is_pushed_with_all_that_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir_all(data.join("deep/er")).unwrap();
        for (name, text) in [("a", "x"), ("deep/er/b", ""), ("no-program", "\x7fELF")] {
            fs::write(data.join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("a", data.join("link")).unwrap();
        let pushed = Pushed::new(std::slice::from_ref(&data)).unwrap();
        let names: Vec<&str> = pushed.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["data/a", "data/deep/er/b", "data/link", "data/no-program"]);
        pushed.check(&contents()).unwrap();
        std::os::unix::fs::symlink(".", data.join("loop")).unwrap();
        let error = Pushed::new(&[data]).unwrap_err().to_string();
        assert!(error.contains("loop cannot be pushed"), "{error}");
    }

    #[test]
    fn more_than_a_node_takes_is_refused_before_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large");
        fs::File::create(&large).unwrap().set_len(1 << 30).unwrap();
        let error = Pushed::new(&[large]).unwrap().check(&contents()).unwrap_err().to_string();
        assert!(error.contains("1024 MiB are to be pushed, and a node takes 200;"), "{error}");
    }

    #[test]
    fn mistyped_path_names_the_nearest_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("server"), "x").unwrap();
        let mut pushed = Pushed::below(directory.path(), &[]).unwrap();
        let error = pushed.command("./sever -s").unwrap_err().to_string();
        assert!(error.contains("is not there; the nearest is") && error.contains("/server\n"), "{error}");
    }

    #[test]
    fn data_is_not_held_to_what_programs_are() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("data");
        fs::write(&file, "text").unwrap();
        Pushed::new(&[file]).unwrap().check(&contents()).unwrap();
    }

    #[test]
    fn program_that_is_no_program_is_named() {
        for (bytes, text) in [
            (&b""[..], "is empty"),
            (b"text", "is no program"),
            (b"\xcf\xfa\xed\xfe\x0c", "is a program for macOS"),
            (b"\x7fELF\x02\x01\x01", "is a damaged ELF file"),
            (b"#!/usr/bin/python3\n", "is a script for /usr/bin/python3, which the guest has not"),
            (b"#!/usr/bin/env -S bash\n", "is a script for bash, which the guest has not"),
        ] {
            let error = check("x", bytes, 0o755, &contents());
            assert!(error.contains(text), "{error}");
            assert!(error.contains("\n  next: "), "{error}");
        }
        assert_eq!(check("x", b"#!/bin/sh\n", 0o755, &contents()), "");
        assert!(
            check("x", b"#!/bin/sh\n", 0o644, &contents()).contains("is not executable\n  next: chmod +x")
        );
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn program_that_the_guest_cannot_run_is_named() {
        let bytes = own();
        let all = ["/lib64/ld-linux-x86-64.so.2", "/lib/libc.so.6", "/lib/libgcc_s.so.1", "/lib/libm.so.6"];
        assert_eq!(check("x", &bytes, 0o755, &Contents::new(all, "9.0")), "");
        let error = check("x", &bytes, 0o755, &Contents::new(all, "2.2"));
        assert!(error.contains("needs glibc 2.") && error.contains("the guest has 2.2"), "{error}");
        let error = check("x", &bytes, 0o755, &Contents::new([all[0], all[1]], "9.0"));
        assert!(error.contains("needs libraries that the guest has not: libgcc_s.so.1"), "{error}");
        let error = check("x", &bytes, 0o755, &Contents::new([all[1], all[2]], "9.0"));
        assert!(error.contains("needs the interpreter /lib64/ld-linux-x86-64.so.2"), "{error}");
        let mut other = bytes;
        // e_machine of the ELF header: AArch64.
        other[18..20].copy_from_slice(&183_u16.to_le_bytes());
        let error = check("x", &other, 0o755, &contents());
        assert!(error.contains("is for another processor: AARCH64, 64 bits"), "{error}");
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn library_may_be_pushed_beside_its_program() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["x", "libgcc_s.so.1"].map(|name| directory.path().join(name));
        fs::write(&files[0], own()).unwrap();
        fs::write(&files[1], "").unwrap();
        let there = ["/lib64/ld-linux-x86-64.so.2", "/lib/libc.so.6", "/lib/libm.so.6"];
        let contents = Contents::new(there, "9.0");
        Pushed::new(&files).unwrap().check(&contents).unwrap();
        Pushed::new(&files[..1]).unwrap().check(&contents).unwrap_err();
    }

    #[test]
    fn programs_behind_variables_and_wrappers_are_taken_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = directory.path().join(name);
            fs::write(&path, "x").unwrap();
            path.display().to_string()
        };
        let (srv, library) = (path("srv"), path("x.so"));
        for (command, expected, files) in [
            (format!("timeout 20 {srv} -a b"), "timeout 20 srv -a b", 1),
            (format!("LD_PRELOAD={library} {srv} -a"), "LD_PRELOAD=x.so srv -a", 2),
            (
                format!("A=1 LD_PRELOAD={library}:libc.so.6 rping -s"),
                "A=1 LD_PRELOAD=x.so:libc.so.6 rping -s",
                1,
            ),
            (format!("{srv} --file=x timeout"), "srv --file=x timeout", 1),
            (format!("rping -s {srv}"), &*format!("rping -s {srv}"), 0),
            ("timeout 5 rping -s".to_owned(), "timeout 5 rping -s", 0),
        ] {
            let mut pushed = Pushed::default();
            assert_eq!(pushed.command(&command).unwrap(), expected);
            assert_eq!(pushed.files.len(), files, "{command}");
        }
        assert!(Pushed::default().command("timeout 5 ./nowhere").is_err());
    }

    #[test]
    fn paths_begin_where_a_scenario_is_and_are_written_from_there() {
        let directory = tempfile::tempdir().unwrap();
        let (own, other) = (directory.path().join("a"), directory.path().join("b/c"));
        for directory in [&own, &other] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(own.join("srv"), "x").unwrap();
        let mut pushed = Pushed::below(&own, &[]).unwrap();
        assert_eq!(pushed.command_in(&own, "./srv -a {server}").unwrap(), "./srv -a {server}");
        assert_eq!(pushed.command_in(&other, "timeout 5 ./srv").unwrap(), "timeout 5 ../../a/srv");
        assert_eq!(pushed.files, []);
        assert_eq!(pushed.command("./srv -a").unwrap(), "srv -a");
        assert_eq!(pushed.files[0].path, own.join("srv").canonicalize().unwrap());
        assert!(Pushed::default().command("./srv").is_err());
    }
}
