/** As in package.json; a test compares them. Browsers cannot read that file. */
export const CLIENT_VERSION = '0.1.0'
