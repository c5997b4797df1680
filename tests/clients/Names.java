// SPDX-License-Identifier: MIT
import java.net.InetAddress;

/** Asks for PREFIX-0.a.test and so on, COUNT names. */
class Names {
    public static void main(String[] word) throws Exception {
        for (int i = 0; i < Integer.parseInt(word[1]); i++) {
            InetAddress.getAllByName(word[0] + "-" + i + ".a.test");
        }
    }
}
