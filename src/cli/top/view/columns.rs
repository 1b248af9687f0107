//! Columns of a table: the ones that fit, and their places.

/// A column; `F` identifies its content.
#[derive(Clone, Copy, Debug)]
pub struct TopColumn<F> {
    pub field: F,
    pub title: &'static str,
    /// Least and largest width.
    pub width: (u16, u16),
    pub is_right: bool,
    /// 0 for a column that stays; else the highest goes first where there is no room.
    pub rank: u8,
}

/// A column with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedColumn<F> {
    pub field: F,
    pub title: &'static str,
    pub x: u16,
    pub width: u16,
    pub is_right: bool,
}

/// A column of names or words.
pub const fn words<F>(field: F, title: &'static str, width: (u16, u16), rank: u8) -> TopColumn<F> {
    TopColumn {
        field,
        title,
        width,
        is_right: false,
        rank,
    }
}

/// A column of numbers.
pub const fn numbers<F>(field: F, title: &'static str, width: u16, rank: u8) -> TopColumn<F> {
    TopColumn {
        field,
        title,
        width: (width, width),
        is_right: true,
        rank,
    }
}

/// The columns that fit, from column 1 on, with one column between them. What is left over is shared by those that
/// can be wider.
pub fn placed<F: Copy>(all: &[TopColumn<F>], width: u16) -> Vec<PlacedColumn<F>> {
    let mut columns = all.to_vec();
    let needed = |columns: &[TopColumn<F>]| {
        let sum = columns.iter().map(|column| u32::from(column.width.0) + 1);
        sum.sum::<u32>()
    };
    while needed(&columns) > u32::from(width) {
        let last = columns.iter().map(|column| column.rank).max().unwrap_or(0);
        if last == 0 {
            break;
        }
        columns.retain(|column| column.rank != last);
    }
    let mut rest = u32::from(width).saturating_sub(needed(&columns));
    let mut widths: Vec<u16> = columns.iter().map(|column| column.width.0).collect();
    loop {
        let mut is_wider = false;
        for (width, column) in widths.iter_mut().zip(&columns) {
            if rest > 0 && *width < column.width.1 {
                *width += 1;
                rest -= 1;
                is_wider = true;
            }
        }
        if !is_wider {
            break;
        }
    }
    let mut x = 1;
    let mut placed = Vec::with_capacity(columns.len());
    for (column, width) in columns.into_iter().zip(widths) {
        placed.push(PlacedColumn {
            field: column.field,
            title: column.title,
            x,
            width,
            is_right: column.is_right,
        });
        x = x.saturating_add(width).saturating_add(1);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rank_goes_first_and_the_rest_is_shared() {
        let all = [
            words('a', "name", (4, 10), 0),
            numbers('b', "n", 3, 1),
            words('c', "c", (2, 4), 2),
        ];
        let shown = |width| {
            let placed = placed(&all, width);
            let of = placed
                .iter()
                .map(|column| format!("{}{}+{}", column.field, column.x, column.width));
            of.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(40), "a1+10 b12+3 c16+4");
        assert_eq!(shown(14), "a1+5 b7+3 c11+3");
        assert_eq!(shown(11), "a1+6 b8+3");
        assert_eq!(shown(8), "a1+7");
        assert_eq!(shown(1), "a1+4");
        assert_eq!(shown(0), "a1+4");
    }
}
