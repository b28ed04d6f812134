//! The three numbers of a release, which every program here writes alike.

/// Reads `1.26.2`. What follows the third number (`-eksbuild.1`, `-0+deb13u1`) names a rebuild and does not count.
pub(crate) fn numbers(text: &str) -> Option<[u16; 3]> {
    let release = text.split(['-', '+', '_']).next()?;
    let number = |part: &str| {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    };
    let numbers: Option<Vec<_>> = release.split('.').map(number).collect();
    numbers?.try_into().ok()
}
